//! The stored form of events and messages: deterministic CBOR, encoded and decoded by hand. It must not know which store
//! keeps the bytes, or what an event leads to.
//!
//! An event's body is `[version, field, …]`; the [frame](frame) around it has the code of its kind. A message's body
//! contains that code: `[version, code, field, …]`. The body of a [task](task) is `[version, field, …]`, and so is that of a [reply](reply). The [table](super::table) has all kinds with their codes, versions and
//! fields.
//!
//! | a field of type | is stored as |
//! |---|---|
//! | a text, a name | text |
//! | a command id, an event's number, an attempt, a lease | unsigned number |
//! | a message id | 16 bytes |
//! | a time | number of microseconds since 1970 |
//! | a duration | number of seconds, or `[seconds, nanoseconds]` |
//! | a payload | bytes of CBOR, or `[encoding, bytes]` |
//! | a failure | `[type, message, retryable, cause, details]` |
//! | activity options | `[retry, start-to-close, schedule-to-close, at-most-once, queue]` |
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
pub(crate) mod frame;
mod layout;
mod parts;
#[cfg(feature = "__testing")]
pub(crate) mod read_back;
mod records;
pub(crate) mod reply;
pub(crate) mod task;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use self::cbor::{Decoded, Fault, Reader, Writer};
use self::layout::{Layout, Version};
use crate::log::event::{Event, EventKind};
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
#[cfg(test)]
pub(crate) fn encode_event(event: &Event) -> Bytes {
    let mut body = Vec::with_capacity(CAPACITY);
    append_event(&mut body, event);
    body.into()
}

/// Encodes an event's body after other bytes.
pub(crate) fn append_event(out: &mut Vec<u8>, event: &Event) {
    let mut to = Writer::after(std::mem::take(out));
    to.fields(|fields| {
        let (_, version) = event.code_and_version();
        fields.put(&version);
        event.write_fields(fields);
    });
    *out = to.finish();
}

/// Decodes the event of this kind and body. Its payloads are slices of the body.
pub(crate) fn decode_event(kind: EventKind, body: &Bytes) -> Result<Event, WireError> {
    decode_event_within(kind, body, body)
}

/// Decodes the event of this kind and body, which is a part of a buffer. Its payloads are slices of the buffer.
#[inline(always)]
pub(crate) fn decode_event_within(kind: EventKind, body: &[u8], buffer: &Bytes) -> Result<Event, WireError> {
    match read_event(kind, &mut Reader::new(body, buffer)) {
        Ok(event) => Ok(event),
        Err(fault) => Err(refused(&format_args!("event `{kind}`"), body, &fault)),
    }
}

#[inline(always)]
fn read_event(kind: EventKind, from: &mut Reader<'_>) -> Decoded<Event> {
    let mut fields = from.open_fields()?;
    let version = Version::take(&mut fields)?;
    Event::read_fields(kind.code(), version, &mut fields)
}

/// Encodes a message's body.
pub(crate) fn encode_message(message: &Message) -> Bytes {
    let mut to = Writer::after(Vec::with_capacity(CAPACITY));
    to.fields(|fields| {
        let (code, version) = message.code_and_version();
        fields.put(&version);
        fields.put_with(|to| to.unsigned(code.into()));
        message.write_fields(fields);
    });
    to.finish().into()
}

/// Decodes the message with this stored body. Its payload is a slice of the body.
pub(crate) fn decode_message(body: &Bytes) -> Result<Message, WireError> {
    // An error before the code is read cannot name the message.
    let mut name = "?";
    let mut read = || {
        let mut from = Reader::new(body, body);
        let mut fields = from.open_fields()?;
        let version = Version::take(&mut fields)?;
        let code = fields.take_or("kind", || None, Reader::small)?;
        name = Message::name_of(code).unwrap_or(name);
        Message::read_fields(code, version, &mut fields)
    };
    read().map_err(|fault| refused(&format_args!("message `{name}`"), body, &fault))
}

#[cold]
fn refused(what: &dyn std::fmt::Display, body: &[u8], fault: &Fault) -> WireError {
    WireError(format!("{what} ({} bytes): {fault}", body.len()))
}
