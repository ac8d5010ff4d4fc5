//! Corrupt bodies, and bodies of a newer build, are refused with an error that names the problem and its place.

use bytes::Bytes;
use expect_test::{Expect, expect};
use proptest::collection::vec;
use proptest::prelude::*;

use super::samples;
use crate::data::failure::Failure;
use crate::data::id::CommandId;
use crate::log::event::{Event, EventKind};
use crate::log::message::Message;
use crate::log::wire::{decode_event, decode_message, encode_event, encode_message};

fn kind(name: &str) -> EventKind {
    EventKind::named(name).expect("it is the name of a kind")
}

/// Checks the error with which each body is refused, one line each.
fn refused(bodies: &[(&str, &[u8])], expected: &Expect) {
    let error = |(name, body): &(&str, &[u8])| {
        decode_event(kind(name), &Bytes::copy_from_slice(body)).expect_err("the body is not refused").0
    };
    expected.assert_eq(&bodies.iter().map(|body| error(body) + "\n").collect::<String>());
}

#[test]
fn event_of_a_newer_build_is_refused_with_what_was_found_and_what_is_known() {
    let bodies: &[(&str, &[u8])] = &[
        ("timer.fired", &[0x82, 3, 1]),
        ("timer.fired", &[0x82, 0, 1]),
        ("timer.fired", &[0x83, 1, 1, 1]),
        ("timer.fired", &[0x83, 1, 1, 0xf6]),
        ("kind-77", &[0x82, 1, 1]),
        ("run.ending", &[0x82, 1, 0x81, 3]),
        ("run.completed", &[0x82, 1, 0x82, 0x19, 1, 0, 0x40]),
    ];
    let expected = expect![[r#"
        event `timer.fired` (3 bytes): at byte 1: version 3, and this build knows only 1; use a newer build
        event `timer.fired` (3 bytes): at byte 1: version 0, and this build knows only 1; it was never written
        event `timer.fired` (4 bytes): at byte 3: 1 more fields than this build knows; use a newer build
        event `timer.fired` (4 bytes): at byte 3: 1 more fields than this build knows; use a newer build
        event `kind-77` (3 bytes): at byte 2: this build does not know the kind; use a newer build
        event `run.ending` (4 bytes): `outcome` at byte 3: outcome 3, and this build knows 0 to 2; use a newer build
        event `run.completed` (7 bytes): `result` at byte 3: encoding 256, and the greatest is 255
    "#]];
    refused(bodies, &expected);
}

#[test]
fn message_of_a_newer_build_is_refused() {
    let error = |body: &'static [u8]| decode_message(&Bytes::from_static(body)).unwrap_err().0 + "\n";
    let errors = error(b"\x82\x01\x18\x4d") + &error(b"\x82\x02\x03");
    let expected = expect![[r#"
        message `?` (4 bytes): at byte 4: this build does not know the kind; use a newer build
        message `cancel` (3 bytes): at byte 1: version 2, and this build knows only 1; use a newer build
    "#]];
    expected.assert_eq(&errors);
}

#[test]
fn corrupt_body_is_refused_with_the_field_and_the_place() {
    let bodies: &[(&str, &[u8])] = &[
        ("timer.fired", &[]),
        ("timer.fired", &[0x80]),
        ("timer.fired", &[0x81, 1]),
        ("timer.fired", &[0x82, 1]),
        ("timer.fired", &[0x82, 1, 0x19, 1]),
        ("timer.fired", &[0x82, 1, 1, 0]),
        ("timer.fired", &[0x82, 1, 0xf6]),
        ("timer.fired", &[0x82, 1, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("timer.fired", &[0x9f, 1, 1, 0xff]),
        ("timer.fired", &[0x82, 1, 0x1c]),
        ("timer.fired", &[0x82, 1, 0x18, 1]),
        ("timer.started", &[0x83, 1, 1, 0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("run.stalled", &[0x82, 1, 0x62, b'a', 0xff]),
        ("cancel.requested", &[0x82, 1, 0x41, 0]),
        ("activity.failed", &[0x83, 1, 1, 0x84, 0x60, 0x60, 0xf6, 0x82, 0x60, 0xfb]),
        ("activity.scheduled", &[0x85, 1, 1, 0x60, 0x40, 0x82, 0xf6, 0x82, 0, 0]),
    ];
    let expected = expect![[r#"
        event `timer.fired` (0 bytes): at byte 0: cut short: an array should follow
        event `timer.fired` (1 bytes): `version` at byte 1: the field is missing
        event `timer.fired` (2 bytes): `id` at byte 2: the field is missing
        event `timer.fired` (2 bytes): at byte 0: cut short: 2 items announced, 1 bytes left
        event `timer.fired` (4 bytes): `id` at byte 2: cut short within a head
        event `timer.fired` (4 bytes): at byte 3: 1 more bytes follow the value
        event `timer.fired` (3 bytes): `id` at byte 2: null where an unsigned number should be
        event `timer.fired` (11 bytes): `id` at byte 2: 4294967296 does not fit into 32 bits
        event `timer.fired` (4 bytes): at byte 0: an indefinite length, which is never written
        event `timer.fired` (3 bytes): `id` at byte 2: a reserved head
        event `timer.fired` (4 bytes): `id` at byte 2: a head longer than necessary, which is never written
        event `timer.started` (12 bytes): `fire_at` at byte 3: the number does not fit into 64 bits with a sign
        event `run.stalled` (5 bytes): `reason` at byte 4: the text is not UTF-8
        event `cancel.requested` (4 bytes): `message` at byte 2: 1 bytes where 16 should be
        event `activity.failed` (10 bytes): `failure.cause.message` at byte 9: a float or a simple value where text should be
        event `activity.scheduled` (10 bytes): `options.start_to_close` at byte 9: 0 nanoseconds are not a fraction of a second
    "#]];
    refused(bodies, &expected);
}

#[test]
fn length_beyond_the_body_is_refused_before_anything_is_allocated() {
    let huge = |head: u8| [&[0x82, 1, head], &u64::MAX.to_be_bytes()[..]].concat();
    let (bytes, text, array) = (huge(0x5b), huge(0x7b), huge(0x9b));
    let expected = expect![[r#"
        event `run.completed` (11 bytes): `result` at byte 2: cut short: 18446744073709551615 bytes announced, 0 bytes left
        event `run.stalled` (11 bytes): `reason` at byte 2: cut short: 18446744073709551615 bytes announced, 0 bytes left
        event `run.ending` (11 bytes): `outcome` at byte 2: cut short: 18446744073709551615 items announced, 0 bytes left
    "#]];
    refused(&[("run.completed", &bytes), ("run.stalled", &text), ("run.ending", &array)], &expected);
}

#[test]
fn causes_beyond_the_bound_are_cut_when_written_and_refused_when_read() {
    let chain = |links: usize| {
        let link =
            |cause: Option<Failure>, _| Some(Failure { cause: cause.map(Box::new), ..Failure::new("", "") });
        (0..links).fold(None, link).expect("the chain has a link")
    };
    let failed = |links| Event::ActivityFailed { id: CommandId::FIRST, failure: chain(links) };
    let longest = encode_event(&failed(super::super::records::CAUSES_MAX + 1));
    assert!(decode_event(kind("activity.failed"), &longest).is_ok());
    assert_eq!(encode_event(&failed(1_000)), longest);

    let mut longer = longest.to_vec();
    longer.truncate(longest.len() - 3);
    longer.extend_from_slice(&[0x84, 0x60, 0x60, 0xf6, 0x82, 0x60, 0x60]);
    let error = decode_event(kind("activity.failed"), &longer.into()).unwrap_err();
    assert!(error.0.ends_with("more than 64 causes"), "{error}");
}

/// Cuts every golden body at every place and replaces every byte: the result is an error or another value, not a panic.
#[test]
fn truncated_or_changed_bytes_never_panic() {
    for (case, event) in samples::events() {
        let name = event.name();
        let body = encode_event(&event);
        for cut in 0..body.len() {
            assert!(decode_event(event.kind(), &body.slice(..cut)).is_err(), "{name}, {case}, cut at {cut}");
            for byte in [0, 1, 0x17, 0x1b, 0x3b, 0x5b, 0x7b, 0x9b, 0x9f, 0xbf, 0xc0, 0xf6, 0xf9, 0xff] {
                let mut changed = body.to_vec();
                changed[cut] = byte;
                let _ = decode_event(event.kind(), &changed.into());
            }
        }
    }
}

/// Applies each `(place, byte)`: it replaces a byte, or appends one beyond the end.
fn mutate(body: &Bytes, changes: &[(prop::sample::Index, u8)], length: prop::sample::Index) -> Bytes {
    let mut body = body.to_vec();
    for (place, byte) in changes {
        let place = place.index(body.len() + 1);
        match body.get_mut(place) {
            Some(there) => *there = *byte,
            None => body.push(*byte),
        }
    }
    body.truncate(length.index(2 * body.len() + 1));
    body.into()
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..100)) {
        let body = Bytes::from(bytes);
        for kind in EventKind::ALL {
            let _ = decode_event(*kind, &body);
        }
        let _ = decode_message(&body);
    }

    #[test]
    fn mutated_events_never_panic(
        event in any::<Event>(),
        changes in vec(any::<(prop::sample::Index, u8)>(), 0..4),
        length in any::<prop::sample::Index>(),
    ) {
        let body = mutate(&encode_event(&event), &changes, length);
        // A mutated body that can still be read is a value like any other: it can be stored again.
        if let Ok(event) = decode_event(event.kind(), &body) {
            prop_assert_eq!(decode_event(event.kind(), &encode_event(&event)), Ok(event));
        }
    }

    #[test]
    fn mutated_messages_never_panic(
        message in any::<Message>(),
        changes in vec(any::<(prop::sample::Index, u8)>(), 0..4),
        length in any::<prop::sample::Index>(),
    ) {
        let body = mutate(&encode_message(&message), &changes, length);
        if let Ok(message) = decode_message(&body) {
            prop_assert_eq!(decode_message(&encode_message(&message)), Ok(message));
        }
    }

    #[test]
    fn event_followed_by_more_bytes_is_refused(event in any::<Event>(), more in vec(any::<u8>(), 1..9)) {
        let body = [&encode_event(&event)[..], &more].concat();
        prop_assert!(decode_event(event.kind(), &body.into()).is_err());
    }
}
