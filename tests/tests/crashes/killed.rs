//! A worker process is killed by `SIGKILL` at every boundary of a commit, and another one takes over.

use pgworkflows_tests::eventually;

use crate::env::PgEnv;
use crate::interrupted::{assert_no_recorded_activity_ran_again, interrupt_at_every_append};
use crate::process::TrialWorker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_before_any_commit_loses_nothing_and_repeats_nothing() {
    kill_at_every_append("before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_any_commit_loses_nothing_and_repeats_nothing() {
    kill_at_every_append("after").await;
}

async fn kill_at_every_append(moment: &str) {
    interrupt_at_every_append("kill", moment, async |interrupted| {
        interrupted.env.log().await.check();
        assert_no_recorded_activity_ran_again(&interrupted.env, &interrupted.run, None).await;
    })
    .await;
}

/// After the third death, the run is a suspect: it is marked before a worker executes it, its attempts are logged and
/// counted, and still it completes. The first three workers are killed at their first append, because the trial may
/// need no more than six. The others are killed at their third: the first append marks the run, the second logs an
/// attempt, and the third its outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_whose_every_worker_is_killed_completes() {
    let env = PgEnv::new().await;
    env.create_executions().await;
    let run = env.start_trial("Acme").await.unwrap();
    let spawn =
        |deaths| TrialWorker::spawn(env.url(), &["kill", "after", if deaths < 3 { "1" } else { "3" }]);
    let mut deaths = 0;
    let mut worker = spawn(deaths);
    let workers = eventually("the run is over", async || {
        if worker.was_killed() {
            deaths += 1;
            worker = spawn(deaths);
        }
        run.status().await.unwrap().is_over().then_some(())
    });
    let (result, ()) = futures::join!(env.finish_trial(&run), workers);
    assert_eq!(result, "Acme upgraded to pro.");
    assert!(deaths >= 3, "only {deaths} workers were killed");
    env.log().await.check();
    assert_no_recorded_activity_ran_again(&env, &run, None).await;
}
