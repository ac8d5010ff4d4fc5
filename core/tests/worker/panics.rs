//! Panics on a worker's threads: caught, told of, and no end of anything but the lease.

use std::panic::panic_any;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::limits;
use futures::future::pending;
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Bed, Greet};
use crate::logs;

/// Panics at the first so many calls of a kind.
fn panics(at: Kind, times: u32) -> impl Fn(Kind) -> Fault + Send + Sync {
    let left = AtomicU32::new(times);
    move |kind| {
        let is_left = |left: u32| left.checked_sub(1);
        if kind == at && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_left).is_ok() {
            panic!("no store for {kind:?}");
        }
        Fault::Proceed
    }
}

/// Starts a run under a store that misbehaves, and a worker that is to end it.
async fn greets(bed: &Bed, name: &str) {
    let run = bed.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();
    let script = async { assert_eq!(run.result().await.unwrap(), "Hello, Ada!") };
    let worker = bed.worker(name).build().unwrap();
    bed.end(worker.run_on_this_thread(script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_session_costs_the_lease_and_no_run() {
    logs::listen();
    for kind in [Kind::Claim, Kind::Read, Kind::Append, Kind::Release, Kind::Session] {
        // Given a store that panics at two calls
        let bed = Bed::virtual_time();
        bed.faults.begin(panics(kind, 2));
        // Then the run ends all the same
        greets(&bed, &format!("panics-{kind:?}")).await;
        // Then the host has heard of both
        assert_eq!(bed.host.panics(), 2, "{kind:?}");
    }
    // Then the log tells what was said, and where
    let lines = logs::lines(&["panics-Append", "the lease is lost", "a panic: ", "no store for Append"]);
    assert!(lines.len() == 2 && lines[0].contains("panics.rs:"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn payload_that_panics_as_it_is_dropped_does_no_more_harm() {
    struct Hydra;
    impl Drop for Hydra {
        fn drop(&mut self) {
            panic_any(Hydra)
        }
    }
    logs::listen();
    let bed = Bed::virtual_time();
    let thrown = AtomicU32::new(0);
    bed.faults.begin(move |kind| {
        if kind == Kind::Append && thrown.fetch_add(1, Ordering::SeqCst) == 0 {
            panic_any(Hydra);
        }
        Fault::Proceed
    });
    greets(&bed, "hydra").await;
    assert_eq!(logs::lines(&["hydra", "the lease is lost", "a panic: "]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn panic_at_every_try_ends_the_worker_with_what_was_said() {
    logs::listen();
    let bed = Bed::virtual_time();
    bed.faults.begin(panics(Kind::Read, u32::MAX));
    let worker = bed.worker("hopeless").build().unwrap();
    let error = bed.end(worker.run_on_this_thread(pending())).await.unwrap_err();
    assert!(error.is_gave_up() && error.to_string().contains("no store for Read"), "{error}");
    assert_eq!(bed.faults.asked(Kind::Claim), limits::SETBACKS_MAX as usize);
}

#[tokio::test(start_paused = true)]
async fn heart_that_panics_beats_on_and_one_that_always_does_ends_the_worker() {
    logs::listen();
    // Given a heart that panics at its first beats
    let bed = Bed::virtual_time();
    bed.faults.begin(panics(Kind::Tick, limits::SETBACKS_MAX - 1));
    let worker = bed.worker("faint").build().unwrap();
    // Then it beats on, and the lease is one that is renewed in the end
    bed.end(worker.run_on_this_thread(bed.pass(Duration::from_secs(120)))).await.unwrap();
    let failed = logs::lines(&["ERROR", "faint", "a heartbeat failed", "no store for Tick", "failures=9"]);
    assert_eq!(failed.len(), 1, "{failed:?}");

    // Given one that always does
    let bed = Bed::virtual_time();
    bed.faults.begin(panics(Kind::Tick, u32::MAX));
    let worker = bed.worker("still").build().unwrap();
    let error = bed.end(worker.run_on_this_thread(pending())).await.unwrap_err();
    // Then the worker ends
    assert!(error.is_gave_up() && error.to_string().contains("the heart"), "{error}");
}

#[tokio::test]
async fn worker_on_threads_of_its_own_ends_with_the_error_of_one_of_them() {
    // Given threads, under a time that goes a hundred times as fast
    logs::listen();
    let bed = Bed::new(100);
    bed.faults.begin(panics(Kind::Read, u32::MAX));
    let worker = bed.worker("threads").processors(2).build().unwrap();
    // When a store panics at every try, then the worker ends
    let error = bed.end(worker.run_until(pending())).await.unwrap_err();
    assert!(error.is_gave_up() && error.to_string().contains("no store for Read"), "{error}");
}
