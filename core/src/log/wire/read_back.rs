//! Reads any bytes as whatever a store keeps, for fuzzers outside of core. It must not know where the bytes come from.

use bytes::Bytes;

use super::reply::{decode_reply, encode_reply};
use super::task::{decode_task, encode_task};
use super::{append_event, decode_event, decode_message, encode_message};
use crate::data::id::RunId;
use crate::log::event::EventKind;

/// Reads bytes as a message, a reply, a task and an event of the kind with this name. Returns as how many of these they can be
/// read.
///
/// # Panics
/// Panics if something that was read is not the same after it was written and read again.
pub fn read_back(kind: &str, body: &Bytes) -> usize {
    let event = EventKind::named(kind).and_then(|kind| Some((kind, decode_event(kind, body).ok()?)));
    let event = event.map(|(kind, event)| {
        let mut again = Vec::new();
        append_event(&mut again, &event);
        // Its words are for people, and must not fail either.
        assert!(!event.to_string().is_empty(), "{event:?}");
        assert_eq!(decode_event(kind, &again.into()), Ok(event));
    });
    let message = decode_message(body).map(|message| {
        assert_eq!(decode_message(&encode_message(&message)), Ok(message));
    });
    let reply = decode_reply(body).map(|reply| assert_eq!(decode_reply(&encode_reply(&reply)), Ok(reply)));
    let run = RunId::from_u128(7);
    let task = decode_task(run, body).map(|attempt| {
        assert_eq!(decode_task(run, &encode_task(&attempt)), Ok(attempt));
    });
    [event.is_some(), message.is_ok(), reply.is_ok(), task.is_ok()].into_iter().filter(|read| *read).count()
}
