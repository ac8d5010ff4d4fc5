//! Pins the stored form: golden bodies, round trips of arbitrary values, and bodies that must be refused.

mod arbitrary;
mod frames;
mod hostile;
mod samples;

use std::fmt::{Debug, Write};

use bytes::Bytes;
use expect_test::expect_file;
use proptest::prelude::*;

use super::*;
use crate::log::event::EventKind;

/// One value as the golden files show it: its body in hexadecimal, and what the body means.
fn golden(text: &mut String, title: &str, body: &Bytes, value: &dyn Debug) {
    let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(text, "# {title}\n{hex}\n{value:?}\n").expect("a string takes everything");
}

/// Never change a line of the golden files once it is released, by hand or by `UPDATE_EXPECT`: existing logs hold these
/// bytes and must stay readable forever. Only add lines, for new kinds, fields and versions.
#[test]
fn stored_events_never_change() {
    let mut text = String::new();
    for (case, event) in samples::events() {
        let body = encode_event(&event);
        let name = event.name();
        assert_eq!(decode_event(event.kind(), &body).as_ref(), Ok(&event));
        golden(&mut text, &format!("{name}, {case}"), &body, &event);
    }
    expect_file!["golden/events.txt"].assert_eq(&text);
}

/// As for events: only add lines.
#[test]
fn stored_messages_never_change() {
    let mut text = String::new();
    for (case, message) in samples::messages() {
        let body = encode_message(&message);
        assert_eq!(decode_message(&body).as_ref(), Ok(&message));
        golden(
            &mut text,
            &format!("{}, {case}", Message::name_of(message.code_and_version().0).expect("it is known")),
            &body,
            &message,
        );
    }
    expect_file!["golden/messages.txt"].assert_eq(&text);
}

#[test]
fn every_kind_has_a_golden_minimum_and_maximum() {
    let events = samples::events();
    for kind in EventKind::ALL {
        for wanted in ["least", "all"] {
            let found = events.iter().any(|(case, event)| *case == wanted && event.kind() == *kind);
            assert!(found, "the golden files lack {kind}, {wanted}");
        }
    }
}

#[test]
fn body_is_deterministic_cbor_to_an_independent_implementation() {
    let bodies = samples::events().into_iter().map(|(_, event)| encode_event(&event));
    let messages = samples::messages().into_iter().map(|(_, message)| encode_message(&message));
    for body in bodies.chain(messages) {
        let value: ciborium::Value = ciborium::from_reader(&body[..]).expect("plain CBOR");
        let mut again = Vec::new();
        ciborium::into_writer(&value, &mut again).expect("a vector takes everything");
        assert_eq!(Bytes::from(again), body);
    }
}

#[test]
fn activity_that_completes_with_nothing_takes_five_bytes() {
    let result = crate::data::payload::Payload::encode(&()).unwrap();
    let event = Event::ActivityCompleted { id: crate::data::id::CommandId::FIRST, result };
    assert_eq!(encode_event(&event).len(), 5);
}

proptest! {
    #[test]
    fn event_survives_storage(event in any::<Event>()) {
        let body = encode_event(&event);
        prop_assert_eq!(decode_event(event.kind(), &body), Ok(event));
    }

    #[test]
    fn message_survives_storage(message in any::<Message>()) {
        let body = encode_message(&message);
        prop_assert_eq!(decode_message(&body), Ok(message));
    }
}
