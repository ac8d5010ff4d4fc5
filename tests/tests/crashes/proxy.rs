//! A proxy in front of the server. It parses the protocol so far that it can cut a connection at an exact moment of a
//! chosen statement, and count statements.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// When the connection of a statement is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Never.
    Pass,
    /// Before the server receives the statement.
    BeforeRequest,
    /// After the server received the statement, whatever the outcome.
    AfterRequest,
    /// After the server answered, before the client receives the answer.
    BeforeAnswer,
}

/// Decides about each execution of a statement, by its text.
type Plan = Box<dyn FnMut(&str) -> Cut + Send>;

/// A running proxy.
pub(crate) struct Proxy {
    url: String,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy for the server of that database, with that latency in each direction.
    pub(crate) async fn new(
        url: &str,
        latency: Duration,
        plan: impl FnMut(&str) -> Cut + Send + 'static,
    ) -> Self {
        let options = PgConnectOptions::from_str(url).unwrap();
        let server = format!("{}:{}", options.get_host(), options.get_port());
        assert!(url.contains(&server), "the URL has no host and port to replace: {server}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let url = url.replace(&server, &address);
        let plan: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(plan)));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                tokio::spawn(Connection::new(Arc::clone(&plan), latency).serve(client, server));
            }
        });
        Self { url, accepting }
    }

    /// The URL of the database through the proxy.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The state that both directions of a connection share.
struct Connection {
    plan: Arc<Mutex<Plan>>,
    latency: Duration,
    /// Requests that the server has not answered.
    unanswered: AtomicUsize,
    /// Whether the answer to the last request is kept back.
    keep_back: AtomicBool,
}

/// Codes of requests for encryption, which the proxy does not offer.
const ENCRYPTIONS: [u32; 2] = [80_877_103, 80_877_104];

impl Connection {
    fn new(plan: Arc<Mutex<Plan>>, latency: Duration) -> Self {
        Self { plan, latency, unanswered: AtomicUsize::new(0), keep_back: AtomicBool::new(false) }
    }

    /// Forwards both directions until one side or the plan ends the connection.
    async fn serve(self, client: TcpStream, server: TcpStream) {
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let (mut from_client, mut to_client) = client.into_split();
        let (from_server, mut to_server) = server.into_split();
        if handshake(&mut from_client, &mut to_client, &mut to_server).await.is_none() {
            return;
        }
        tokio::select! {
            _ = self.up(from_client, to_server) => {}
            _ = self.down(from_server, to_client) => {}
        }
    }

    /// `None` ends the connection.
    async fn up(&self, mut client: OwnedReadHalf, mut server: OwnedWriteHalf) -> Option<()> {
        let mut statements: HashMap<String, String> = HashMap::new();
        let mut cut = Cut::Pass;
        loop {
            let (kind, frame) = read_frame(&mut client).await?;
            let executes = match kind {
                b'P' => {
                    let (name, rest) = text(&frame[5..]);
                    statements.insert(name, text(rest).0);
                    None
                }
                b'B' => {
                    let name = text(text(&frame[5..]).1).0;
                    Some(statements.get(&name).cloned().unwrap_or_default())
                }
                b'Q' => Some(text(&frame[5..]).0),
                _ => None,
            };
            if let Some(statement) = executes {
                cut = (self.plan.lock().unwrap())(&statement);
                if cut == Cut::BeforeRequest {
                    return None;
                }
            }
            // These messages end a request; the server answers them with `ready for query`.
            let ends = matches!(kind, b'S' | b'Q');
            if ends {
                tokio::time::sleep(self.latency).await;
                self.unanswered.fetch_add(1, Ordering::SeqCst);
                self.keep_back.store(cut == Cut::BeforeAnswer, Ordering::SeqCst);
            }
            server.write_all(&frame).await.ok()?;
            if ends && cut == Cut::AfterRequest {
                return None;
            }
        }
    }

    async fn down(&self, mut server: OwnedReadHalf, mut client: OwnedWriteHalf) -> Option<()> {
        let mut connected = false;
        loop {
            let (kind, frame) = read_frame(&mut server).await?;
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
            if ready {
                tokio::time::sleep(self.latency).await;
            }
            client.write_all(&frame).await.ok()?;
        }
    }
}

/// Forwards the first message of the client.
async fn handshake(
    client: &mut OwnedReadHalf,
    to_client: &mut OwnedWriteHalf,
    server: &mut OwnedWriteHalf,
) -> Option<()> {
    loop {
        let length = client.read_u32().await.ok()?;
        let mut rest = vec![0; length as usize - 4];
        client.read_exact(&mut rest).await.ok()?;
        let code = u32::from_be_bytes(rest[..4].try_into().ok()?);
        if ENCRYPTIONS.contains(&code) {
            to_client.write_all(b"N").await.ok()?;
            continue;
        }
        server.write_u32(length).await.ok()?;
        return server.write_all(&rest).await.ok();
    }
}

/// A message with its kind and length.
async fn read_frame(stream: &mut OwnedReadHalf) -> Option<(u8, Vec<u8>)> {
    let mut frame = vec![0; 5];
    stream.read_exact(&mut frame).await.ok()?;
    let length = u32::from_be_bytes(frame[1..5].try_into().ok()?) as usize;
    frame.resize(1 + length, 0);
    stream.read_exact(&mut frame[5..]).await.ok()?;
    Some((frame[0], frame))
}

/// A zero-terminated text, and the rest.
fn text(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes.get(end + 1..).unwrap_or_default())
}
