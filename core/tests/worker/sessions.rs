//! How many sessions a worker has open, and what it does where it may not have a second one for a processor.

use std::time::Duration;

use futures::future::join_all;
use pgworkflows::store::StoreError;
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Bed, Greet};
use crate::logs;

const SECOND: Duration = Duration::from_secs(1);

/// Reads and appends that take so long that they overlap.
fn slow(bed: &Bed, kind: Kind) -> Fault {
    match kind {
        Kind::Read | Kind::Append => Fault::Delay(bed.sleep(SECOND / 10)),
        _ => Fault::Proceed,
    }
}

/// Has runs go through the inbox, one after the other, and come to their ends.
async fn runs_complete(bed: &Bed, names: &str) {
    let runs = (0..20).map(async |number| {
        bed.pass(number * SECOND / 20).await;
        let run = bed.client.start::<Greet>("Ada".to_owned()).key(format!("{names} {number}")).await.unwrap();
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
    });
    join_all(runs).await;
}

#[tokio::test(start_paused = true)]
async fn processor_has_a_second_session_only_while_reads_and_appends_overlap() {
    // Given a worker with one processor that has nothing to do
    let bed = Bed::virtual_time();
    let slowed = bed.clone();
    let script = async {
        bed.pass(60 * SECOND).await;
        // Then its processor has one session, and its heart the other
        assert_eq!(bed.faults.asked(Kind::Session), 2);
        // When reads and appends overlap, then there is a third one
        bed.faults.begin(move |kind| slow(&slowed, kind));
        runs_complete(&bed, "first").await;
        assert_eq!(bed.faults.asked(Kind::Session), 3);
        // When they do so again after a while, then it had been closed
        bed.pass(60 * SECOND).await;
        runs_complete(&bed, "second").await;
        assert_eq!(bed.faults.asked(Kind::Session), 4);
    };
    let worker = bed.worker("modest").build().unwrap();
    bed.end(worker.run_on_this_thread(script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reads_and_appends_take_turns_where_a_second_session_cannot_be_had() {
    // Given a store that gives a worker no more sessions than those that it began with
    logs::listen();
    let bed = Bed::virtual_time();
    let slowed = bed.clone();
    let script = async {
        bed.pass(60 * SECOND).await;
        bed.faults.begin(move |kind| match kind {
            Kind::Session => Fault::Refuse(StoreError::unavailable("too many connections")),
            kind => slow(&slowed, kind),
        });
        let began = bed.now();
        // When runs come, then they come to their ends all the same, under the same lease
        runs_complete(&bed, "run").await;
        assert_eq!(bed.faults.asked(Kind::Claim), 1);
        // Then no read that had to wait for the session was forgotten until the next heartbeat
        assert!(bed.now() - began < 2 * SECOND, "{:?}", bed.now() - began);
        // Then the log says so, and a second session was not asked for again at once
        let told = logs::lines(&["WARN", "alone", "processor=0", "take turns on one session", "too many"]);
        assert_eq!((told.len(), bed.faults.asked(Kind::Session)), (1, 3), "{told:?}");
        bed.faults.end();
    };
    let worker = bed.worker("alone").build().unwrap();
    bed.end(worker.run_on_this_thread(script)).await.unwrap();
}
