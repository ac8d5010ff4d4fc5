//! Requests over HTTP/1.1, for the demonstration and the test. It must not be taken for a client of production.

use pgworkflows::serde_json::{self, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a request, such as `POST /orders`. Returns the status, and the body if there is one. The key is the
/// `Idempotency-Key`.
pub(crate) async fn request(
    address: &str,
    request: &str,
    key: Option<&str>,
    body: Option<Value>,
) -> Result<(u16, Value), AnyError> {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let key = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{key}\r\n"
    );
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all((head + &body).as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no end of its head")?;
    let status = head.split(' ').nth(1).ok_or("the answer has no status")?.parse()?;
    // What is no JSON, such as the words of axum about a request that it cannot read, is a text.
    Ok((status, serde_json::from_str(body).unwrap_or_else(|_| body.into())))
}
