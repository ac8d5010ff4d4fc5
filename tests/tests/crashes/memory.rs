//! A worker process with a small budget of memory meets inputs and results that are many times as large.

use futures::future::try_join_all;
use pgworkflows_tests::weighed::{Weighed, Weight};
use pgworkflows_tests::{DEADLINE, eventually};

use crate::env::PgEnv;
use crate::process::TrialWorker;

const MIB: usize = 1 << 20;

/// The budget of the worker.
const BUDGET: usize = 24 * MIB;

/// What a worker with one processor may need beside its budget, with large payloads in each of its sixteen activities.
const REST: usize = 200 * MIB;

/// The size of a large payload: a little less than the limit.
const LARGE: usize = 1_900_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_a_worker_is_bounded_whatever_waits_in_its_inbox() {
    // Given starts that wait in the inbox: many small ones, and large ones of several times the budget
    let env = PgEnv::new().await;
    let start = |text: usize, returned: usize| {
        let weight = Weight { text: "x".repeat(text), returned };
        env.client.start::<Weighed>(weight).into_future()
    };
    let mut runs = Vec::new();
    for _ in 0..10 {
        runs.extend(try_join_all((0..10).map(|_| start(LARGE, 1))).await.unwrap());
        runs.extend(try_join_all((0..10).map(|_| start(1, LARGE))).await.unwrap());
        runs.extend(try_join_all((0..300).map(|_| start(1, 1))).await.unwrap());
    }
    // When a worker with little memory serves them
    let mut worker = TrialWorker::spawn_with_memory(env.url(), BUDGET);
    let results = runs.iter().map(|run| run.result().timeout(DEADLINE).into_future());
    let lengths = try_join_all(results).await.unwrap();
    assert_eq!(lengths.iter().filter(|length| **length == LARGE).count(), 100);
    // Then all runs end, and the process has never had more than its budget and what it needs beside it
    worker.shut_down();
    let most = eventually("the worker tells how much memory it had", async || {
        worker.lines().first().map(|kib| kib.parse::<usize>().unwrap() << 10)
    })
    .await;
    assert!(most < BUDGET + REST, "{} MiB", most / MIB);
}
