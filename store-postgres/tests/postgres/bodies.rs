//! Bodies of events and of frames, whole and damaged. It must not know how they are shown.

use pgworkflows_core::bytes::Bytes;
use pgworkflows_core::history::LAYOUTS;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// A body of every kind of event, at least one with all fields. The tests of core write this file.
const GOLDEN: &str = include_str!("../../../core/src/log/wire/golden/events.txt");

/// The golden events: their titles, names and bodies.
pub(crate) fn golden() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let event = |text: &'static str| {
        let mut lines = text.lines();
        let title = lines.next()?.strip_prefix("# ")?;
        Some((title, title.split(", ").next()?, from_hex(lines.next()?)))
    };
    GOLDEN.split("\n\n").filter_map(event).collect()
}

pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The body of an `activity.completed`, with this CBOR as the field `result`.
pub(crate) fn completed(result: &[u8]) -> Vec<u8> {
    [&[0x83, 1, 7], result].concat()
}

/// CBOR's byte string of these bytes.
pub(crate) fn byte_string(bytes: &[u8]) -> Vec<u8> {
    [&[0x5a], &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// CBOR's head of a value of this major type, in its shortest form.
fn head(major: u8, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let (additional, length) = match value {
        0..24 => (value as u8, 0),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    [&[major << 5 | additional], &bytes[8 - length..]].concat()
}

/// A frame's body, of events that each happened some microseconds after the one before it.
pub(crate) fn frame_body<'e>(events: impl ExactSizeIterator<Item = (&'e str, i64, &'e [u8])>) -> Vec<u8> {
    let count = events.len() as u64;
    let event = |(name, since, body): (&str, i64, &[u8])| {
        let since = if since < 0 { head(1, !since.cast_unsigned()) } else { head(0, since.cast_unsigned()) };
        [head(0, code(name)), since, head(2, body.len() as u64), body.to_vec()].concat()
    };
    head(4, 3 * count).into_iter().chain(events.flat_map(event)).collect()
}

/// The code of the events with this name.
fn code(name: &str) -> u64 {
    LAYOUTS.iter().find(|(_, known, ..)| *known == name).unwrap().0.into()
}

/// A frame's body with `timer.fired` events, with these ids.
pub(crate) fn timers(ids: std::ops::Range<u8>) -> Bytes {
    let bodies: Vec<_> = ids.map(|id| [0x82, 1, id]).collect();
    frame_body(bodies.iter().map(|body| ("timer.fired", 0, &body[..]))).into()
}

/// Some bytes, with others in up to three places.
pub(crate) fn damaged(bytes: &[u8], runner: &mut TestRunner) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let damage = vec(any::<(prop::sample::Index, u8, u8)>(), 1..4);
    for (place, how, byte) in damage.new_tree(runner).unwrap().current() {
        let at = place.index(bytes.len() + 1).min(bytes.len().saturating_sub(1));
        match how % 6 {
            0 => bytes.insert(at, byte),
            1 if bytes.len() > 1 => drop(bytes.remove(at)),
            // Heads of all kinds
            2 => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte & 0xe0 | 0x1f),
            3 => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte | 0xc0),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
        }
    }
    bytes
}
