//! How many allocations replay makes, and how many bytes a run keeps: both are counted, so that they cannot creep back.
//! A number that rises is a cost that every recovery pays per event; one that falls is to be written down here.

use pgworkflows::Workflow;
use pgworkflows::bench::{Code, Decoded};
use pgworkflows_benches::definitions::{Activities, FanOut, Naps, Signals};
use pgworkflows_benches::histories::{Kind, record};

/// Long enough that what a run allocates only once does not count.
const EVENTS: u32 = 10_000;

/// Allocations per thousand events: of decoding alone, and of the replay of what was decoded.
fn counted<W: Workflow>(kind: Kind) -> (u64, u64) {
    let history = record(kind, EVENTS).unwrap();
    let per_thousand = |count: u64| count * 1_000 / u64::from(EVENTS);

    let mut decoded = None;
    let decoding = allocation_counter::measure(|| decoded = Some(Decoded::new(&history).unwrap()));
    let (code, decoded) = (Code::of::<W>().unwrap(), decoded.unwrap());
    let replaying = allocation_counter::measure(|| drop(code.replay(&decoded).unwrap()));
    (per_thousand(decoding.count_total), per_thousand(replaying.count_total))
}

#[track_caller]
fn assert_at_most(counted: (u64, u64), limit: (u64, u64)) {
    let within = counted.0 <= limit.0 && counted.1 <= limit.1;
    assert!(within, "allocations per 1,000 events, decoding and replaying: {counted:?}, the limits are {limit:?}");
}

#[test]
fn sequential_activities_allocate_no_more() {
    // Decoding: the activity's name, once per two events. A payload is a slice of the stored bytes.
    // Replaying, per two events: the open call, what the state keeps of the activity with its name, its encoded input
    // with its owner, and the list that the command is issued in.
    assert_at_most(counted::<Activities>(Kind::Activities), (0, 0));
}

#[test]
fn sequential_timers_allocate_no_more() {
    // Replaying, per two events: the open call, and the list that the command is issued in.
    assert_at_most(counted::<Naps>(Kind::Timers), (0, 0));
}

#[test]
fn fan_out_allocates_no_more() {
    // As sequential activities, with the branch's own waker, and nodes of maps that hold many calls.
    assert_at_most(counted::<FanOut>(Kind::FanOut), (0, 0));
}

#[test]
fn signals_allocate_no_more() {
    // Decoding: the signal's name. Replaying: the same name for its buffer, the buffer, and the open call.
    assert_at_most(counted::<Signals>(Kind::Signals), (0, 0));
}

#[test]
fn live_run_keeps_less_than_one_and_a_half_kibibytes_beside_its_future() {
    // Its first activity is in flight.
    let decoded = Decoded::new(&record(Kind::Activities, 2).unwrap()).unwrap();
    let code = Code::of::<Activities>().unwrap();
    let mut revived = None;
    let counted = allocation_counter::measure(|| revived = Some(code.replay(&decoded).unwrap()));
    let kept = counted.bytes_current + size_of_val(&revived) as i64;
    assert!(kept <= 0, "a live run keeps {kept} bytes");
}
