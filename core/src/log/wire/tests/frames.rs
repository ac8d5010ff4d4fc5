//! Frames: what is written is read again, in frames within the limits, and a damaged frame is refused.

use bytes::Bytes;
use expect_test::expect;
use proptest::collection::vec;
use proptest::prelude::*;

use super::samples;
use crate::data::id::{CommandId, EventSeq, Position};
use crate::data::limits;
use crate::data::payload::{Encoding, Payload};
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::log::past_event::PastEvent;
use crate::log::stored_history::{StoredHistory, decode};
use crate::log::wire::frame::{EncodedEvents, FrameWriter};
use crate::store::frame::Frame;
use crate::store::history::RunHistory;
use crate::testing::{BORN, run_id};

/// The frames of one append, and the position after them.
fn framed(groups: &[Vec<PastEvent>], next: Position) -> (Vec<Frame>, Position) {
    let encode = |events: &Vec<PastEvent>| {
        let mut encoded = EncodedEvents::new();
        for PastEvent { seq, at, event } in events {
            encoded.push(*seq, *at, event);
        }
        encoded
    };
    let encoded: Vec<EncodedEvents> = groups.iter().map(encode).collect();
    let (mut after, mut frames) = (next, FrameWriter::default());
    frames.write(run_id(1), encoded.iter(), &mut after);
    (frames.finish(), after)
}

fn read(frames: Vec<Frame>) -> Result<Vec<PastEvent>, String> {
    decode(&RunHistory { run: run_id(1), frames }).collect()
}

/// Events with numbers from `first` on, at these times.
fn numbered(first: u32, events: Vec<(i64, Event)>) -> Vec<PastEvent> {
    let numbers = (first..).map(EventSeq::new);
    let past = |(seq, (at, event))| PastEvent { seq, at: Timestamp::from_micros(at), event };
    numbers.zip(events).map(past).collect()
}

fn fired(call: u32) -> Event {
    Event::TimerFired { id: CommandId::new(call) }
}

fn completed(bytes: usize) -> Event {
    let result = Payload::from_parts(Encoding::CBOR, Bytes::from(vec![7; bytes]));
    Event::ActivityCompleted { id: CommandId::FIRST, result }
}

/// Checks that frames have all numbers and positions, each once and in order, and begin with these.
fn assert_contiguous(frames: &[Frame], mut seq: EventSeq, next: Position) -> (EventSeq, Position) {
    let mut position = next;
    for frame in frames {
        assert_eq!((frame.seq, frame.first_position()), (seq, position));
        (seq, position) = (frame.next_seq(), frame.position.next());
    }
    (seq, position)
}

#[test]
fn outcome_and_end_of_a_run_take_nineteen_bytes() {
    let events = [completed(1), Event::RunCompleted { result: Payload::encode(&()).unwrap() }];
    let events = events.map(|event| (5, event)).into();
    let (frames, _) = framed(&[numbered(3, events)], Position::new(9));
    let hex: String = frames[0].body.iter().map(|byte| format!("{byte:02x}")).collect();
    // Six items: a code, a time and a body for each event
    assert_eq!(hex, "86070045830101410718190044820141f6");
    assert_eq!((frames[0].seq.get(), frames[0].count, frames[0].position.get()), (3, 2, 10));
    assert_eq!(frames[0].at, Timestamp::from_micros(5));
}

#[test]
fn groups_of_one_append_share_a_frame() {
    let groups = [numbered(1, vec![(5, fired(1))]), vec![], numbered(2, vec![(4, fired(2)), (9, fired(3))])];
    let (frames, after) = framed(&groups, Position::FIRST);
    assert_eq!((frames.len(), frames[0].count, after.get()), (1, 3, 4));
    assert_eq!(read(frames).unwrap(), groups.concat());
    assert_eq!(framed(&[vec![], vec![]], Position::FIRST), (vec![], Position::FIRST));
}

#[test]
fn events_beyond_the_limits_are_the_next_frame() {
    // Given more events than a frame holds
    let many = numbered(1, (0..2_500).map(|call| (5, fired(call))).collect());
    let (frames, _) = framed(&[many[..1_700].to_vec(), many[1_700..].to_vec()], Position::FIRST);
    assert_eq!(frames.iter().map(|frame| frame.count).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    assert_contiguous(&frames, EventSeq::FIRST, Position::FIRST);
    assert_eq!(read(frames).unwrap(), many);

    // Given more bytes than a frame holds, and an event that is larger than a frame
    let sizes = [600_000, 300_000, 200_000, 3_000_000, 1];
    let large = numbered(1, sizes.iter().map(|bytes| (5, completed(*bytes))).collect());
    let (frames, _) = framed(std::slice::from_ref(&large), Position::FIRST);
    assert_eq!(frames.iter().map(|frame| frame.count).collect::<Vec<_>>(), [2, 1, 1, 1]);
    let within = |frame: &&Frame| frame.body.len() <= limits::FRAME_BYTES_MAX;
    assert_eq!(frames.iter().filter(within).count(), 3);
    assert_eq!(read(frames).unwrap(), large);
}

#[test]
fn damaged_frame_is_refused_and_says_where_and_why() {
    let (frames, _) = framed(&[numbered(7, vec![(5, fired(1)), (6, fired(2))])], Position::FIRST);
    let frame = &frames[0];
    let with = |count, body: &[u8]| Frame { count, body: Bytes::copy_from_slice(body), ..frame.clone() };
    let body = &frame.body[..];
    let newer: Vec<u8> = [&[0x86, 0x18, 77], &body[2..]].concat();
    let huge = [&[0x9b], &u64::MAX.to_be_bytes()[..]].concat();
    let damaged = [
        with(3, body),
        with(1, body),
        with(0, body),
        with(u32::MAX, body),
        with(2, &body[..body.len() - 1]),
        with(2, &[body, &[0]].concat()),
        with(2, &[]),
        with(2, &newer),
        with(2, &huge),
        with(2, &[0x86, 0x19, 1, 0]),
        with(2, &[0x86, 1, 0xf6]),
        with(2, &[0x86, 1, 0, 0x5b, 0, 0, 0, 1, 0, 0, 0, 0]),
    ];
    let errors: String = damaged.into_iter().map(|frame| read(vec![frame]).unwrap_err() + "\n").collect();
    let expected = expect![[r#"
        the frame of 3 events at event 7 (13 bytes): at byte 0: it has 6 items, where each event takes 3
        the frame of 1 events at event 7 (13 bytes): at byte 0: it has 6 items, where each event takes 3
        the frame of 0 events at event 7 (13 bytes): at byte 0: it has 6 items, where each event takes 3
        the frame of 4294967295 events at event 7 (13 bytes): at byte 0: it has 6 items, where each event takes 3
        the frame of 2 events at event 7 (12 bytes): at byte 9: cut short: 3 bytes announced, 2 bytes left
        the frame of 2 events at event 7 (14 bytes): at byte 13: 1 more bytes follow the value
        the frame of 2 events at event 7 (0 bytes): at byte 0: cut short: an array should follow
        event 7: event `kind-77` (3 bytes): at byte 2: this build does not know the kind; use a newer build
        the frame of 2 events at event 7 (9 bytes): at byte 0: cut short: 18446744073709551615 items announced, 0 bytes left
        the frame of 2 events at event 7 (4 bytes): at byte 0: cut short: 6 items announced, 3 bytes left
        the frame of 2 events at event 7 (3 bytes): at byte 0: cut short: 6 items announced, 2 bytes left
        the frame of 2 events at event 7 (12 bytes): at byte 3: cut short: 4294967296 bytes announced, 0 bytes left
    "#]];
    expected.assert_eq(&errors);
}

#[test]
fn events_before_the_damage_are_read() {
    let events = numbered(1, vec![(5, fired(1)), (6, fired(2)), (7, fired(3))]);
    let (mut frames, _) = framed(std::slice::from_ref(&events), Position::FIRST);
    let whole = frames[0].body.len();
    frames[0].body.truncate(whole - 1);
    let read: Vec<_> = decode(&RunHistory { run: run_id(1), frames: frames.clone() }).collect();
    assert_eq!(read.len(), 3);
    assert_eq!(read[..2], [Ok(events[0].clone()), Ok(events[1].clone())]);
    assert!(read[2].is_err());
    assert!(StoredHistory::new(&RunHistory { run: run_id(1), frames }).is_err());
}

/// Cuts a frame of all golden events at every place and replaces every byte: the result is an error or other events, not a
/// panic.
#[test]
fn truncated_or_changed_frames_never_panic() {
    let events = samples::events().into_iter().map(|(_, event)| (5, event)).collect();
    let (frames, _) = framed(&[numbered(1, events)], Position::FIRST);
    let frame = &frames[0];
    for cut in 0..frame.body.len() {
        assert!(
            read(vec![Frame { body: frame.body.slice(..cut), ..frame.clone() }]).is_err(),
            "cut at {cut}"
        );
        for byte in [0, 0x18, 0x1b, 0x3b, 0x5b, 0x9b, 0xff] {
            let mut changed = frame.body.to_vec();
            changed[cut] = byte;
            let _ = read(vec![Frame { body: changed.into(), ..frame.clone() }]);
        }
    }
}

proptest! {
    #[test]
    fn events_survive_frames(
        groups in vec(vec((prop_oneof![0..9_i64, any::<i64>()], any::<Event>()), 0..5), 0..5),
        first in 1..1_000_u32,
        next in 1..1_000_u64,
    ) {
        let mut seq = first;
        let groups: Vec<Vec<PastEvent>> = groups
            .into_iter()
            .map(|events| {
                let events = numbered(seq, events);
                seq += events.len() as u32;
                events
            })
            .collect();
        let (frames, after) = framed(&groups, Position::new(next));
        let ends = assert_contiguous(&frames, EventSeq::new(first), Position::new(next));
        if !frames.is_empty() {
            prop_assert_eq!(ends, (EventSeq::new(seq), after));
        }
        let history = RunHistory { run: run_id(1), frames };
        let stored = StoredHistory::new(&history).unwrap();
        let decoded: Vec<PastEvent> = decode(&history).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(&decoded, &groups.concat());
        prop_assert_eq!(stored.events.iter().map(|event| event.decode().unwrap()).collect::<Vec<_>>(), decoded);
    }

    #[test]
    fn random_frames_never_panic(bytes in vec(any::<u8>(), 0..100), count in 0..9_u32) {
        let (seq, position, at) = (EventSeq::FIRST, Position::FIRST, BORN);
        let frame = Frame { run: run_id(1), seq, count, position, at, body: bytes.into() };
        prop_assert!(read(vec![frame]).is_err());
    }
}
