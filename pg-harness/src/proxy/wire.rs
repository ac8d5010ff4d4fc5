//! The messages of PostgreSQL's protocol, as far as a proxy reads them. It must not know what happens to them.

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

pub(super) type Reader = BufReader<OwnedReadHalf>;
pub(super) type Writer = BufWriter<OwnedWriteHalf>;

/// Codes of requests for encryption, which the proxy does not offer.
const ENCRYPTIONS: [u32; 2] = [80_877_103, 80_877_104];

/// The longest first message that the server takes.
const STARTUP_BYTES_MAX: usize = 10_000;

/// Forwards the first message of the client. `None` ends the connection.
pub(super) async fn handshake(
    client: &mut Reader,
    to_client: &mut Writer,
    server: &mut Writer,
) -> Option<()> {
    loop {
        let length = client.read_u32().await.ok()?;
        let size = (length as usize).checked_sub(4).filter(|size| (4..=STARTUP_BYTES_MAX).contains(size))?;
        let mut rest = vec![0; size];
        client.read_exact(&mut rest).await.ok()?;
        let code = u32::from_be_bytes(rest[..4].try_into().ok()?);
        if ENCRYPTIONS.contains(&code) {
            to_client.write_all(b"N").await.ok()?;
            to_client.flush().await.ok()?;
            continue;
        }
        server.write_u32(length).await.ok()?;
        server.write_all(&rest).await.ok()?;
        return server.flush().await.ok();
    }
}

/// A message with its kind and length. `None` at the end of the connection.
pub(super) async fn read_message(stream: &mut Reader) -> Option<(u8, Vec<u8>)> {
    let mut message = vec![0; 5];
    stream.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[1..5].try_into().ok()?) as usize;
    message.resize((1 + length).max(5), 0);
    stream.read_exact(&mut message[5..]).await.ok()?;
    Some((message[0], message))
}

/// Sends a message, together with those that follow it at once.
pub(super) async fn forward(message: &[u8], from: &Reader, to: &mut Writer) -> Option<()> {
    to.write_all(message).await.ok()?;
    if from.buffer().is_empty() { to.flush().await.ok() } else { Some(()) }
}

/// A zero-terminated text, and the rest.
pub(super) fn text(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes.get(end + 1..).unwrap_or_default())
}
