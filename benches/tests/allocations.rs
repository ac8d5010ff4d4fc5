//! How many allocations replay makes, and how many bytes a run keeps: both are counted, so that they cannot creep back.
//! A number that rises is a cost that every recovery pays per event; one that falls is to be written down here.

use std::sync::atomic::{AtomicUsize, Ordering};

use pgworkflows::prelude::*;
use pgworkflows_benches::definitions::{Activities, FanOut, Naps, Signals};
use pgworkflows_benches::histories::{Kind, record};
use pgworkflows_core::bench::{Code, Decoded};

/// Long enough that what a run allocates only once does not count.
const EVENTS: u32 = 10_000;

/// Allocations per thousand events: of decoding alone, and of the replay of what was decoded.
fn counted<W: Workflow>(kind: Kind) -> (u64, u64) {
    let history = record(kind, EVENTS).unwrap();
    let per_thousand = |count: u64| count * 1_000 / u64::from(EVENTS);

    let mut decoded = None;
    let decoding = allocation_counter::measure(|| decoded = Some(Decoded::new(&history).unwrap()));
    let (code, decoded) = (Code::of::<W>().unwrap(), decoded.unwrap());
    let replaying = allocation_counter::measure(|| drop(code.replay_decoded(&decoded).unwrap()));
    (per_thousand(decoding.count_total), per_thousand(replaying.count_total))
}

#[track_caller]
fn assert_at_most(counted: (u64, u64), limit: (u64, u64)) {
    let within = counted.0 <= limit.0 && counted.1 <= limit.1;
    assert!(
        within,
        "allocations per 1,000 events, decoding and replaying: {counted:?}, the limits are {limit:?}"
    );
}

// Decoding allocates nothing per event: a payload is a slice of its frame, and a short name is held in place. The buffer of
// a large frame becomes a shared one when it is first sliced, and a slow machine makes more frames of the same events.

#[test]
fn sequential_activities_allocate_no_more() {
    // Replaying: one call after the other uses the same room.
    assert_at_most(counted::<Activities>(Kind::Activities), (50, 10));
}

#[test]
fn sequential_timers_allocate_no_more() {
    // As sequential activities.
    assert_at_most(counted::<Naps>(Kind::Timers), (50, 10));
}

#[test]
fn fan_out_allocates_no_more() {
    // Replaying, per two events: the branch's future, and its own waker.
    assert_at_most(counted::<FanOut>(Kind::FanOut), (50, 1_020));
}

#[test]
fn signals_allocate_no_more() {
    // Replaying: one signal after the other uses the same room. The ids of messages are remembered, in a set that grows, so
    // that each is logged once.
    assert_at_most(counted::<Signals>(Kind::Signals), (50, 10));
}

/// What a run may keep in memory beside its workflow's own future: 1.5 KiB.
const LIVE_BYTES_MAX: usize = 1_536;

#[test]
fn live_run_keeps_less_than_one_and_a_half_kibibytes_beside_its_future() {
    // Given the history of a run whose first activity is in flight
    let decoded = Decoded::new(&record(Kind::Activities, 2).unwrap()).unwrap();
    Code::of::<Measured>().unwrap().replay_decoded(&decoded).unwrap();
    let future = FUTURE_BYTES.load(Ordering::Relaxed);

    // When it is brought back
    let code = Code::of::<Activities>().unwrap();
    let mut revived = None;
    let counted = allocation_counter::measure(|| revived = Some(code.replay_decoded(&decoded).unwrap()));

    // Then what it keeps, its future apart, is within the limit
    let kept = usize::try_from(counted.bytes_current).unwrap() + size_of_val(&revived) - future;
    assert!(kept <= LIVE_BYTES_MAX, "a live run keeps {kept} bytes beside its future of {future}");
}

/// The size of the future of [`Activities`], once [`Measured`] has run.
static FUTURE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The same workflow, which records the size of its future.
struct Measured;

impl Workflow for Measured {
    const NAME: &'static str = Activities::NAME;
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, count: u32) -> WorkflowResult<u64> {
        let future = Activities::run(ctx, count);
        FUTURE_BYTES.store(size_of_val(&future), Ordering::Relaxed);
        future.await
    }
}
