//! How many sessions a worker opens, and what it does if a processor cannot have a second one.

use std::time::Duration;

use futures::future::join_all;
use pgworkflows::store::StoreError;
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Fixture, Greet};
use crate::logs;

const SECOND: Duration = Duration::from_secs(1);

/// Delays reads and appends so that they overlap.
fn slow(fixture: &Fixture, kind: Kind) -> Fault {
    match kind {
        Kind::Read | Kind::Append => Fault::Delay(fixture.sleep(SECOND / 10)),
        _ => Fault::Proceed,
    }
}

/// Starts runs through the inbox, one after the other, and waits for their results.
async fn runs_complete(fixture: &Fixture, names: &str) {
    let runs = (0..20).map(async |number| {
        fixture.pass(number * SECOND / 20).await;
        let run =
            fixture.client.start::<Greet>("Ada".to_owned()).key(format!("{names} {number}")).await.unwrap();
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
    });
    join_all(runs).await;
}

#[tokio::test(start_paused = true)]
async fn processor_has_a_second_session_only_while_reads_and_appends_overlap() {
    // Given a worker with one processor that has nothing to do
    let fixture = Fixture::virtual_time();
    let slowed = fixture.clone();
    let script = async {
        fixture.pass(60 * SECOND).await;
        // Then its processor, its heartbeat and its task loop have one session each
        assert_eq!(fixture.faults.calls(Kind::Session), 3);
        // When reads and appends overlap, then there is a fourth session
        fixture.faults.begin(move |kind| slow(&slowed, kind));
        runs_complete(&fixture, "first").await;
        assert_eq!(fixture.faults.calls(Kind::Session), 4);
        // When they overlap again much later, then the fourth session was closed and another is opened
        fixture.pass(60 * SECOND).await;
        runs_complete(&fixture, "second").await;
        assert_eq!(fixture.faults.calls(Kind::Session), 5);
    };
    let worker = fixture.worker("modest").build().unwrap();
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reads_and_appends_take_turns_if_a_second_session_cannot_be_opened() {
    // Given a store that allows a worker only the sessions that it began with
    let fixture = Fixture::virtual_time();
    let slowed = fixture.clone();
    let script = async {
        fixture.pass(60 * SECOND).await;
        fixture.faults.begin(move |kind| match kind {
            Kind::Session => Fault::Refuse(StoreError::unavailable("too many connections")),
            kind => slow(&slowed, kind),
        });
        let began = fixture.now();
        // When runs are started, then they still complete, under the same lease
        runs_complete(&fixture, "run").await;
        assert_eq!(fixture.faults.calls(Kind::Claim), 1);
        // Then no read that waited for the session was delayed until the next heartbeat
        assert!(fixture.now() - began < 2 * SECOND, "{:?}", fixture.now() - began);
        // Then the log says so, and a second session was not requested again at once
        let lines = logs::lines(&["WARN", "alone", "processor=0", "take turns on one session", "too many"]);
        assert_eq!((lines.len(), fixture.faults.calls(Kind::Session)), (1, 4), "{lines:?}");
        fixture.faults.end();
    };
    let worker = fixture.worker("alone").build().unwrap();
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
}
