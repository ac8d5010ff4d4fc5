//! How events and messages are stored: plain CBOR, encoded and decoded by hand.

use bytes::Bytes;

use super::Event;
use crate::message::Message;

/// Bytes that are not the event or message that they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireError(pub(crate) String);

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The stored body of an event.
pub(crate) fn encode_event(event: &Event) -> Bytes {
    let _ = event;
    Bytes::new()
}

/// The event of that stored name and body.
pub(crate) fn decode_event(name: &str, body: &Bytes) -> Result<Event, WireError> {
    let _ = (name, body);
    Err(WireError(String::new()))
}

/// The stored body of a message.
pub(crate) fn encode_message(message: &Message) -> Bytes {
    let _ = message;
    Bytes::new()
}

/// The message of that stored body.
pub(crate) fn decode_message(body: &Bytes) -> Result<Message, WireError> {
    let _ = body;
    Err(WireError(String::new()))
}
