//! The server stops or crashes, and starts again, while workers and clients are active.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use pgworkflows_pg_harness::Postgres;
use pgworkflows_tests::{DEADLINE, eventually};

use crate::env::{PgEnv, answered, decide};
use crate::worker::start_worker;

/// How many trials run concurrently.
const TRIALS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_and_crashes_of_the_server_use_up_no_attempt_and_fail_nothing() {
    let server = Arc::new(Postgres::start().unwrap());
    let env = PgEnv::on(server.create_database().unwrap()).await;
    let worker = start_worker(env.store.clone(), |worker| worker.lease_ttl(Duration::from_secs(2)));

    let over = AtomicBool::new(false);
    let trials = (0..TRIALS).map(async |lane| {
        let mut done = Vec::new();
        while !over.load(Ordering::SeqCst) {
            let company = format!("Company {lane}-{}", done.len());
            done.push((company.clone(), trial(&env, &company).await));
        }
        done
    });
    let outages = async {
        // Shorter than a lease, and longer; with shutdowns, and with crashes.
        for (kill, down) in [(false, 0), (true, 0), (true, 2500), (false, 2500), (true, 200)] {
            three_trials_complete(&env).await;
            let server = Arc::clone(&server);
            tokio::task::spawn_blocking(move || {
                if kill { server.kill() } else { server.stop() }.unwrap();
                // The duration of the outage.
                std::thread::sleep(Duration::from_millis(down));
                server.restart().unwrap();
            })
            .await
            .unwrap();
        }
        three_trials_complete(&env).await;
        over.store(true, Ordering::SeqCst);
    };
    let (done, ()) = futures::join!(join_all(trials), outages);

    for (company, result) in done.iter().flatten() {
        assert_eq!(*result, format!("{company} upgraded to pro."));
    }
    let log = env.log().await;
    log.check();
    for unwanted in
        ["activity.attempt_failed", "activity.attempt_lost", "activity.failed", "run.failed", "run.stalled"]
    {
        assert_eq!(log.count(unwanted), 0, "{unwanted}");
    }
    assert_eq!(log.count("run.completed"), done.iter().flatten().count());
    worker.stop().await;
}

/// One trial. The client repeats every request until it is answered.
async fn trial(env: &PgEnv, company: &str) -> String {
    let run = eventually("the start is answered", async || answered(env.start_trial(company).await)).await;
    eventually("the run waits for a decision", async || {
        let info = answered(run.describe().await)?;
        info.waiting_on.is_some_and(|what| what.contains("signal `upgrade`")).then_some(())
    })
    .await;
    eventually("the decision is sent", async || answered(decide(&run).await)).await;
    run.result().timeout(DEADLINE).await.unwrap()
}

/// Waits until three more trials complete.
async fn three_trials_complete(env: &PgEnv) {
    let before = completed_trials(env).await;
    eventually("trials complete", async || (completed_trials(env).await >= before + 3).then_some(())).await;
}

/// How many trials have completed.
async fn completed_trials(env: &PgEnv) -> usize {
    eventually("the log can be read", async || env.try_log().await).await.count("run.completed")
}
