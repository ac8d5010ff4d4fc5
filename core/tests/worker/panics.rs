//! Panics on a worker's threads are caught and logged, and only cost the lease.

use std::panic::panic_any;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::pending;
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Fixture, Greet};
use crate::limits;
use crate::logs;

/// Panics at the first `times` calls of a kind.
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

/// Starts a run, and a worker that must complete it although its store misbehaves.
async fn greets(fixture: &Fixture, name: &str) {
    let run = fixture.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();
    let script = async { assert_eq!(run.result().await.unwrap(), "Hello, Ada!") };
    let worker = fixture.worker(name).build().unwrap();
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_session_costs_the_lease_and_no_run() {
    for kind in [Kind::Claim, Kind::Read, Kind::Append, Kind::Release, Kind::Session] {
        // Given a store that panics at two calls
        let fixture = Fixture::virtual_time();
        fixture.faults.begin(panics(kind, 2));
        // Then the run still completes
        greets(&fixture, &format!("panics-{kind:?}")).await;
        // Then the host was informed of both
        assert_eq!(fixture.host.panics(), 2, "{kind:?}");
    }
    // Then the log holds the message of the panic and its line
    let lines = logs::lines(&["panics-Append", "the lease is lost", "a panic: ", "no store for Append"]);
    assert!(lines.len() == 2 && lines[0].contains("panics.rs:"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn panic_payload_that_panics_when_it_is_dropped_is_caught_too() {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic_any(PanicsOnDrop)
        }
    }
    let fixture = Fixture::virtual_time();
    let thrown = AtomicU32::new(0);
    fixture.faults.begin(move |kind| {
        if kind == Kind::Append && thrown.fetch_add(1, Ordering::SeqCst) == 0 {
            panic_any(PanicsOnDrop);
        }
        Fault::Proceed
    });
    greets(&fixture, "hydra").await;
    assert_eq!(logs::lines(&["hydra", "the lease is lost", "a panic: "]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn panic_at_every_try_ends_the_worker_with_its_message() {
    let fixture = Fixture::virtual_time();
    fixture.faults.begin(panics(Kind::Read, u32::MAX));
    let worker = fixture.worker("hopeless").build().unwrap();
    let error = fixture.end(worker.run_on_this_thread(pending())).await.unwrap_err();
    assert!(error.is_gave_up() && error.to_string().contains("no store for Read"), "{error}");
    assert_eq!(fixture.faults.calls(Kind::Claim), limits::SETBACKS_MAX as usize);
}

#[tokio::test(start_paused = true)]
async fn heartbeat_survives_panics_and_ends_the_worker_if_it_always_panics() {
    // Given heartbeats that panic at first
    let fixture = Fixture::virtual_time();
    fixture.faults.begin(panics(Kind::Heartbeat, limits::SETBACKS_MAX - 1));
    let worker = fixture.worker("faint").build().unwrap();
    // Then the worker continues, and its lease is renewed in the end
    fixture.end(worker.run_on_this_thread(fixture.pass(Duration::from_secs(120)))).await.unwrap();
    let failed =
        logs::lines(&["ERROR", "faint", "a heartbeat failed", "no store for Heartbeat", "failures=9"]);
    assert_eq!(failed.len(), 1, "{failed:?}");

    // Given heartbeats that always panic
    let fixture = Fixture::virtual_time();
    fixture.faults.begin(panics(Kind::Heartbeat, u32::MAX));
    let worker = fixture.worker("still").build().unwrap();
    let error = fixture.end(worker.run_on_this_thread(pending())).await.unwrap_err();
    // Then the worker ends
    assert!(error.is_gave_up() && error.to_string().contains("the heartbeat"), "{error}");
}

#[tokio::test]
async fn worker_on_its_own_threads_ends_with_the_error_of_one_of_them() {
    // Given a worker on its own threads; time runs a hundred times as fast
    let fixture = Fixture::new(100);
    fixture.faults.begin(panics(Kind::Read, u32::MAX));
    let worker = fixture.worker("threads").processors(2).build().unwrap();
    // When a store panics at every try, then the worker ends
    let error = fixture.end(worker.run_until(pending())).await.unwrap_err();
    assert!(error.is_gave_up() && error.to_string().contains("no store for Read"), "{error}");
}
