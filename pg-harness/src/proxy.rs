//! A proxy in front of the server, with which tests make a bad network: connections that are cut at an exact moment of a
//! chosen statement, that are silent for a while, that are slow, or that lose notifications. It must not know what the
//! statements mean.

mod connection;
mod link;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use self::connection::Connection;
pub use self::link::Link;
use crate::error::Error;

/// When the connection of a statement is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
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

/// A running proxy on 127.0.0.1. It accepts no more connections after this value is dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    /// The host and the port of the server.
    server: Arc<Mutex<String>>,
    link: Arc<Link>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy for the server of that database, with that latency in each direction. `plan` decides about each
    /// execution of a statement, by its text.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL does not name a host and a port, or no port is free.
    pub async fn new(
        url: &str,
        latency: Duration,
        plan: impl FnMut(&str) -> Cut + Send + 'static,
    ) -> Result<Self, Error> {
        let server = server_of(url)?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| proxy_error(&error))?;
        let address = listener.local_addr().map_err(|error| proxy_error(&error))?.to_string();
        let url = url.replace(&server, &address);
        let link = Arc::new(Link::new(latency));
        let plan: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(plan)));
        let server = Arc::new(Mutex::new(server));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&server), Arc::clone(&link), plan));
        Ok(Self { url, server, link, accepting })
    }

    /// Leads to the server of that URL from now on: ends all open connections, and connects new ones there.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL does not name a host and a port.
    pub fn redirect(&self, url: &str) -> Result<(), Error> {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server_of(url)?;
        self.link.disconnect();
        Ok(())
    }

    /// The URL of the database through the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The network between the proxy's clients and the server.
    pub fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: Arc<Mutex<String>>, link: Arc<Link>, plan: Arc<Mutex<Plan>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, link, plan) = (Arc::clone(&server), Arc::clone(&link), Arc::clone(&plan));
        tokio::spawn(async move {
            // Nobody answers on a silent network.
            link.flows().await;
            let server = server.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // A client of a stopped server sees its connection end.
            if let Ok(server) = TcpStream::connect(&server).await {
                Connection::new(plan, link).serve(client, server).await;
            }
        });
    }
}

/// The host and the port that a URL names.
fn server_of(url: &str) -> Result<String, Error> {
    let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| proxy_error(&error))?;
    let server = format!("{}:{}", options.get_host(), options.get_port());
    if !url.contains(&server) {
        return Err(proxy_error(&format!("the URL has no host and port to replace: `{server}`")));
    }
    Ok(server)
}

fn proxy_error(problem: &dyn std::fmt::Display) -> Error {
    Error::new(format!("no proxy can be in front of the server: {problem}"))
}
