//! One connection through a proxy. It must not know why it is disturbed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;

use super::link::Link;
use super::wire::{Reader, Writer, forward, handshake, read_message, text};
use super::{Cut, Plan};

/// The state that both directions of a connection share.
pub(super) struct Connection {
    plan: Arc<Mutex<Plan>>,
    link: Arc<Link>,
    /// Requests that the server has not answered.
    unanswered: AtomicUsize,
    /// Whether the answer to the last request is kept back.
    keep_back: AtomicBool,
}

impl Connection {
    pub(super) fn new(plan: Arc<Mutex<Plan>>, link: Arc<Link>) -> Self {
        Self { plan, link, unanswered: AtomicUsize::new(0), keep_back: AtomicBool::new(false) }
    }

    /// Forwards both directions until one side, the plan or the network ends the connection.
    pub(super) async fn serve(self, client: TcpStream, server: TcpStream) {
        if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
            // One side has ended already.
            return;
        }
        let mut endings = self.link.endings();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (mut from_client, from_server) = (BufReader::new(from_client), BufReader::new(from_server));
        let (mut to_client, mut to_server) = (BufWriter::new(to_client), BufWriter::new(to_server));
        let both = async {
            handshake(&mut from_client, &mut to_client, &mut to_server).await?;
            tokio::select! {
                ended = self.up(from_client, to_server) => ended,
                ended = self.down(from_server, to_client) => ended,
            }
        };
        tokio::select! {
            _ = both => {}
            _ = endings.changed() => {}
        }
    }

    /// `None` ends the connection.
    async fn up(&self, mut client: Reader, mut server: Writer) -> Option<()> {
        let mut statements: HashMap<String, String> = HashMap::new();
        let mut cut = Cut::Pass;
        loop {
            let (kind, message) = read_message(&mut client).await?;
            self.link.flows().await;
            let executes = match kind {
                b'P' => {
                    let (name, rest) = text(&message[5..]);
                    statements.insert(name, text(rest).0);
                    None
                }
                b'B' => {
                    let name = text(text(&message[5..]).1).0;
                    Some(statements.get(&name).cloned().unwrap_or_default())
                }
                b'Q' => Some(text(&message[5..]).0),
                _ => None,
            };
            if let Some(statement) = executes {
                cut = (self.plan.lock().unwrap_or_else(PoisonError::into_inner))(&statement);
                if cut == Cut::BeforeRequest {
                    return None;
                }
            }
            // These messages end a request; the server answers them with `ready for query`.
            let ends = matches!(kind, b'S' | b'Q');
            if ends {
                self.link.take_time().await;
                self.unanswered.fetch_add(1, Ordering::SeqCst);
                self.keep_back.store(cut == Cut::BeforeAnswer, Ordering::SeqCst);
            }
            forward(&message, &client, &mut server).await?;
            if ends && cut == Cut::AfterRequest {
                server.flush().await.ok()?;
                return None;
            }
        }
    }

    /// `None` ends the connection.
    async fn down(&self, mut server: Reader, mut client: Writer) -> Option<()> {
        let mut connected = false;
        loop {
            let (kind, message) = read_message(&mut server).await?;
            self.link.flows().await;
            let ready = kind == b'Z';
            // The first one ends the handshake.
            let last = ready && connected && self.unanswered.fetch_sub(1, Ordering::SeqCst) == 1;
            connected |= ready;
            if self.keep_back.load(Ordering::SeqCst) {
                if last {
                    return None;
                }
                continue;
            }
            if kind == b'A' && self.link.loses_notification() {
                client.flush().await.ok()?;
                continue;
            }
            if ready {
                self.link.take_time().await;
            }
            forward(&message, &server, &mut client).await?;
        }
    }
}
