//! The stored form of events and messages: deterministic CBOR, encoded and decoded by hand. It must not know which store
//! keeps the bytes, or what an event leads to.
//!
//! An event's body is `[version, field, …]`; its name is stored beside it. A message's body contains its name:
//! `[version, name, field, …]`. The [table](super::table) has all kinds with their versions and fields.
//!
//! | a field of type | is stored as |
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
//! A field that is absent or has its default is null, and nulls at the end of an array are left out: an activity that
//! completed with `()` takes 5 bytes.
//!
//! **What may change.** A kind may get another optional field at its end. An older build reads a body without that field
//! and refuses a body that has it. Any other change needs a new version of the kind, and `read_fields` must read both,
//! because old bodies are never rewritten. A build never guesses: an unknown kind, version or field is an error that asks
//! for a newer build. Golden files pin the format.

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

/// How many bytes are reserved at first. Most bodies fit; a large payload grows the buffer once.
const CAPACITY: usize = 128;

/// The error for bytes that this build cannot read as an event or a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireError(pub(crate) String);

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WireError {}

/// Encodes an event's body.
pub(crate) fn encode_event(event: &Event) -> Bytes {
    let mut to = Writer::with_capacity(CAPACITY);
    to.fields(|fields| {
        let (_, version) = event.kind();
        fields.put(&version);
        event.write_fields(fields);
    });
    to.finish()
}

/// Decodes the event with this stored name and body. Its payloads are slices of the body.
pub(crate) fn decode_event(name: &str, body: &Bytes) -> Result<Event, WireError> {
    let read = || {
        let mut from = Reader::new(body);
        let mut fields = from.open_fields()?;
        let version = Version::take(&mut fields)?;
        Event::read_fields(name, version, &mut fields)
    };
    read().map_err(|fault| refused("event", name, body, &fault))
}

/// Encodes a message's body.
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

/// Decodes the message with this stored body. Its payload is a slice of the body.
pub(crate) fn decode_message(body: &Bytes) -> Result<Message, WireError> {
    // An error before the name is read cannot name the message.
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

/// The name is cut, because a corrupt one may be as long as the body.
#[cold]
fn refused(what: &str, name: &str, body: &Bytes, fault: &Fault) -> WireError {
    WireError(format!("{what} `{name:.64}` ({} bytes): {fault}", body.len()))
}
