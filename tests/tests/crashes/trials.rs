//! Trials that run one after the other while the server is in trouble. It must not know what the trouble is.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use pgworkflows_tests::{DEADLINE, eventually};

use crate::env::{PgEnv, answered, decide};

/// How many trials run concurrently.
const TRIALS: usize = 6;

/// Runs trials until the trouble is over. Asserts that each has its result, and that the trouble used up no attempt,
/// failed nothing, and left nothing out.
pub(crate) async fn trials_during(env: &PgEnv, trouble: impl Future<Output = ()>) {
    let over = AtomicBool::new(false);
    let trials = (0..TRIALS).map(async |lane| {
        let mut done = Vec::new();
        while !over.load(Ordering::SeqCst) {
            let company = format!("Company {lane}-{}", done.len());
            done.push((company.clone(), trial(env, &company).await));
        }
        done
    });
    let trouble = async {
        trouble.await;
        three_trials_complete(env).await;
        over.store(true, Ordering::SeqCst);
    };
    let (done, ()) = futures::join!(join_all(trials), trouble);

    for (company, result) in done.iter().flatten() {
        assert_eq!(*result, format!("{company} upgraded to pro."));
    }
    let log = env.log().await;
    log.check();
    for unwanted in
        ["activity.attempt-failed", "activity.attempt-lost", "activity.failed", "run.failed", "run.stalled"]
    {
        assert_eq!(log.count(unwanted), 0, "{unwanted}");
    }
    assert_eq!(log.count("run.completed"), done.iter().flatten().count());
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
pub(crate) async fn three_trials_complete(env: &PgEnv) {
    let before = completed_trials(env).await;
    eventually("trials complete", async || (completed_trials(env).await >= before + 3).then_some(())).await;
}

/// How many trials have completed.
async fn completed_trials(env: &PgEnv) -> usize {
    eventually("the log can be read", async || env.try_log().await).await.count("run.completed")
}
