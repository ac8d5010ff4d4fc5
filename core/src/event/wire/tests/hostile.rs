//! Bodies that no build wrote, or a newer one: they are refused with an error that says what and where.

use bytes::Bytes;
use expect_test::{Expect, expect};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{decode_event, decode_message, encode_event, encode_message};
use super::{arbitrary, samples};
use crate::event::{Event, STORED_NAMES};
use crate::failure::Failure;
use crate::id::CommandId;

fn refused(name: &str, body: impl Into<Bytes>, expected: Expect) {
    expected.assert_eq(&decode_event(name, &body.into()).unwrap_err().0);
}

#[test]
fn newer_version_is_refused_with_the_version_found_and_the_greatest_known() {
    refused(
        "timer.fired",
        vec![0x82, 3, 1],
        expect![
            "the event `timer.fired` of 3 bytes cannot be read: at byte 2: version 3, and this build knows 1 to 1; use a newer build"
        ],
    );
    refused(
        "timer.fired",
        vec![0x82, 0, 1],
        expect![
            "the event `timer.fired` of 3 bytes cannot be read: at byte 2: version 0, and this build knows 1 to 1; that one was never written"
        ],
    );
}

#[test]
fn unknown_field_is_refused() {
    refused(
        "timer.fired",
        vec![0x83, 1, 1, 1],
        expect![
            "the event `timer.fired` of 4 bytes cannot be read: at byte 3: 1 fields more than this build knows; use a newer build"
        ],
    );
}

#[test]
fn unknown_kind_is_refused() {
    refused(
        "timer.paused",
        vec![0x82, 1, 1],
        expect![
            "the event `timer.paused` of 3 bytes cannot be read: at byte 2: this build knows none of that name; use a newer build"
        ],
    );
    let error = decode_message(&Bytes::from_static(b"\x82\x01\x65pause")).unwrap_err();
    expect!["the message `pause` of 8 bytes cannot be read: at byte 8: this build knows none of that name; use a newer build"].assert_eq(&error.0);
}

#[test]
fn corrupt_body_is_refused_with_the_place() {
    refused(
        "timer.fired",
        vec![],
        expect![
            "the event `timer.fired` of 0 bytes cannot be read: at byte 0: cut short: an array should follow"
        ],
    );
    refused(
        "timer.fired",
        vec![0x80],
        expect![
            "the event `timer.fired` of 1 bytes cannot be read: `version` at byte 1: the field is missing"
        ],
    );
    refused(
        "timer.fired",
        vec![0x81, 1],
        expect!["the event `timer.fired` of 2 bytes cannot be read: `id` at byte 2: the field is missing"],
    );
    refused(
        "timer.fired",
        vec![0x82, 1, 1, 0],
        expect!["the event `timer.fired` of 4 bytes cannot be read: at byte 3: 1 bytes behind the end"],
    );
    refused(
        "timer.fired",
        vec![0x82, 1, 0xf6],
        expect![
            "the event `timer.fired` of 3 bytes cannot be read: `id` at byte 2: null where an unsigned number should be"
        ],
    );
    refused(
        "timer.fired",
        vec![0x82, 1, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0],
        expect![
            "the event `timer.fired` of 11 bytes cannot be read: `id` at byte 2: 4294967296 does not fit 32 bits"
        ],
    );
    refused(
        "timer.fired",
        vec![0x9f, 1, 1, 0xff],
        expect![
            "the event `timer.fired` of 4 bytes cannot be read: at byte 0: an indefinite length, which is never written"
        ],
    );
    refused(
        "timer.fired",
        vec![0x82, 1, 0x18, 1],
        expect![
            "the event `timer.fired` of 4 bytes cannot be read: `id` at byte 2: a head longer than it need be, which is never written"
        ],
    );
    refused(
        "run.stalled",
        vec![0x82, 1, 0x62, b'a', 0xff],
        expect![
            "the event `run.stalled` of 5 bytes cannot be read: `reason` at byte 4: the text is not UTF-8"
        ],
    );
    refused(
        "run.completed",
        vec![0x82, 1, 0x82, 0x19, 1, 0, 0x40],
        expect![
            "the event `run.completed` of 7 bytes cannot be read: `result` at byte 3: encoding 256, and 255 is the greatest"
        ],
    );
    refused(
        "run.ending",
        vec![0x82, 1, 0x81, 3],
        expect![
            "the event `run.ending` of 4 bytes cannot be read: `outcome` at byte 3: outcome 3, and this build knows 0 to 2; use a newer build"
        ],
    );
    refused(
        "cancel.requested",
        vec![0x82, 1, 0x41, 0],
        expect![
            "the event `cancel.requested` of 4 bytes cannot be read: `message` at byte 2: 1 bytes where 16 should be"
        ],
    );
    let failure = vec![0x83, 1, 1, 0x84, 0x60, 0x60, 0xf6, 0x82, 0x60, 0x01];
    refused(
        "activity.failed",
        failure,
        expect![
            "the event `activity.failed` of 10 bytes cannot be read: `failure.cause.message` at byte 9: an unsigned number where text should be"
        ],
    );
}

#[test]
fn length_beyond_the_body_is_refused_before_anything_is_allocated() {
    let huge = |head: u8| [&[0x82, 1, head], &u64::MAX.to_be_bytes()[..]].concat();
    refused(
        "run.completed",
        huge(0x5b),
        expect![
            "the event `run.completed` of 11 bytes cannot be read: `result` at byte 2: cut short: 18446744073709551615 bytes announced, 0 bytes left"
        ],
    );
    refused(
        "run.stalled",
        huge(0x7b),
        expect![
            "the event `run.stalled` of 11 bytes cannot be read: `reason` at byte 2: cut short: 18446744073709551615 bytes announced, 0 bytes left"
        ],
    );
    refused(
        "run.ending",
        huge(0x9b),
        expect![
            "the event `run.ending` of 11 bytes cannot be read: `outcome` at byte 2: cut short: 18446744073709551615 items announced, 0 bytes left"
        ],
    );
}

#[test]
fn causes_beyond_the_bound_are_cut_when_written_and_refused_when_read() {
    let chain = |links: usize| {
        let link =
            |cause: Option<Failure>, _| Some(Failure { cause: cause.map(Box::new), ..Failure::new("", "") });
        (0..links).fold(None, link).expect("the chain has a link")
    };
    let failed = |links| Event::ActivityFailed { id: CommandId::FIRST, failure: chain(links) };
    let longest = encode_event(&failed(super::super::parts::CAUSES_MAX + 1));
    assert!(decode_event("activity.failed", &longest).is_ok());
    assert_eq!(encode_event(&failed(1_000)), longest);

    let mut longer = longest.to_vec();
    longer.pop();
    longer.pop();
    longer.pop();
    longer.extend_from_slice(&[0x84, 0x60, 0x60, 0xf6, 0x82, 0x60, 0x60]);
    let error = decode_event("activity.failed", &longer.into()).unwrap_err();
    assert!(error.0.ends_with("more than 64 causes"), "{error}");
}

/// Every golden body, cut at every place and with every byte replaced: an error or another value, no panic.
#[test]
fn no_cut_and_no_changed_byte_makes_reading_panic() {
    for (case, event) in samples::events() {
        let name = event.name();
        let body = encode_event(&event);
        for cut in 0..body.len() {
            assert!(decode_event(name.as_str(), &body.slice(..cut)).is_err(), "{name}, {case}, cut at {cut}");
            for byte in [0, 1, 0x17, 0x1b, 0x3b, 0x5b, 0x7b, 0x9b, 0x9f, 0xbf, 0xc0, 0xf6, 0xf9, 0xff] {
                let mut changed = body.to_vec();
                changed[cut] = byte;
                let _ = decode_event(name.as_str(), &changed.into());
            }
        }
    }
}

/// Applies each `(place, byte)`: a change of what is there, and beyond the end more bytes.
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
        for name in STORED_NAMES {
            let _ = decode_event(name, &body);
        }
        let _ = decode_message(&body);
    }

    #[test]
    fn mutated_events_never_panic(
        event in arbitrary::event(),
        changes in vec(any::<(prop::sample::Index, u8)>(), 0..4),
        length in any::<prop::sample::Index>(),
    ) {
        let body = mutate(&encode_event(&event), &changes, length);
        // What can be read all the same is a value like any other: it can be stored again.
        if let Ok(event) = decode_event(event.name().as_str(), &body) {
            prop_assert_eq!(decode_event(event.name().as_str(), &encode_event(&event)), Ok(event));
        }
    }

    #[test]
    fn mutated_messages_never_panic(
        message in arbitrary::message(),
        changes in vec(any::<(prop::sample::Index, u8)>(), 0..4),
        length in any::<prop::sample::Index>(),
    ) {
        let body = mutate(&encode_message(&message), &changes, length);
        if let Ok(message) = decode_message(&body) {
            prop_assert_eq!(decode_message(&encode_message(&message)), Ok(message));
        }
    }

    #[test]
    fn event_with_bytes_behind_it_is_refused(event in arbitrary::event(), more in vec(any::<u8>(), 1..9)) {
        let body = [&encode_event(&event)[..], &more].concat();
        prop_assert!(decode_event(event.name().as_str(), &body.into()).is_err());
    }
}
