//! How events and messages are stored: deterministic CBOR, encoded and decoded by hand. It must not know who
//! stores the bytes, nor what an event leads to.
//!
//! An event's body is `[version, field, …]`; its name is stored beside it. A message's body holds its name too:
//! `[version, name, field, …]`. [`table`](super::table) has all kinds, their versions and fields.
//!
//! | a field that is | is stored as |
//! |---|---|
//! | a text, a name | text |
//! | a command id, an attempt, a lease | unsigned number |
//! | a message id | 16 bytes |
//! | a time | number of microseconds since 1970 |
//! | a duration | number of seconds, or `[seconds, nanoseconds]` |
//! | a payload | bytes of CBOR, or `[encoding, bytes]` |
//! | a failure | `[type, message, retryable, cause, details]` |
//! | activity options | `[retry, start-to-close, schedule-to-close, at-most-once]` |
//! | a retry policy | `[max-attempts, initial, delay-max, non-retryable]` |
//! | an outcome | `[0, result]`, `[1, failure]` or `[2]` |
//! | a failed compensation | `[activity, failure]` |
//!
//! What is absent or has its default is null, and left out at the end of an array: an activity that completed
//! with `()` takes 5 bytes.
//!
//! **What may change.** A kind may get another field at its end, provided that it may be absent. An older build
//! refuses such a body where the field is there, and reads it where it is not. Any other change is a new version
//! of the kind: `read_fields` then reads both, for old bodies are never rewritten. A build never guesses: a
//! kind, version or field that it does not know is an error that asks for a newer build. Golden files pin it all.

mod cbor;
mod fields;
mod layout;
mod parts;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use self::cbor::{Fault, Reader, Writer};
use self::layout::{Layout, Version};
use crate::log::event::Event;
use crate::log::message::Message;

/// How many bytes are reserved at first. Most bodies fit; a large payload makes them grow once.
const CAPACITY: usize = 128;

/// Bytes that are not the event or message that they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireError(pub(crate) String);

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WireError {}

/// The stored body of an event.
pub(crate) fn encode_event(event: &Event) -> Bytes {
    let mut to = Writer::with_capacity(CAPACITY);
    to.fields(|fields| {
        let (_, version) = event.kind();
        fields.put(&version);
        event.write_fields(fields);
    });
    to.finish()
}

/// The event of that stored name and body. Its payloads are slices of the body.
pub(crate) fn decode_event(name: &str, body: &Bytes) -> Result<Event, WireError> {
    let read = || {
        let mut from = Reader::new(body);
        let mut fields = from.open_fields()?;
        let version = Version::take(&mut fields)?;
        Event::read_fields(name, version, &mut fields)
    };
    read().map_err(|fault| refused("event", name, body, &fault))
}

/// The stored body of a message.
pub(crate) fn encode_message(message: &Message) -> Bytes {
    let mut to = Writer::with_capacity(CAPACITY);
    to.fields(|fields| {
        let (name, version) = message.kind();
        fields.put(&version);
        fields.put_with(|to| to.text(name));
        message.write_fields(fields);
    });
    to.finish()
}

/// The message of that stored body. Its payload is a slice of the body.
pub(crate) fn decode_message(body: &Bytes) -> Result<Message, WireError> {
    // Until the name is read, an error cannot tell it.
    let mut name = "?";
    let mut read = || {
        let mut from = Reader::new(body);
        let mut fields = from.open_fields()?;
        let version = Version::take(&mut fields)?;
        name = fields.take_text("name")?;
        Message::read_fields(name, version, &mut fields)
    };
    read().map_err(|fault| refused("message", name, body, &fault))
}

/// A name of corrupt bytes may be as long as they are: it is cut.
#[cold]
fn refused(what: &str, name: &str, body: &Bytes, fault: &Fault) -> WireError {
    WireError(format!("{what} `{name:.64}` ({} bytes): {fault}", body.len()))
}
