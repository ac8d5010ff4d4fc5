//! A worker process is stopped for longer than its lease at every boundary of a commit, and continues afterwards.

use pgworkflows_tests::eventually;

use crate::interrupted::{Interrupted, assert_no_recorded_activity_ran_again, interrupt_at_every_append};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_stopped_before_any_commit_commits_nothing_under_its_expired_lease() {
    stop_at_every_append("before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_stopped_after_any_commit_does_nothing_under_its_expired_lease() {
    stop_at_every_append("after").await;
}

async fn stop_at_every_append(moment: &str) {
    interrupt_at_every_append("stop", moment, async |interrupted| resume(interrupted, moment).await).await;
}

/// Continues the stopped worker after another worker has completed its run.
async fn resume(interrupted: Interrupted, moment: &str) {
    let Interrupted { env, run, first, second: Some(second) } = interrupted else { return };
    eventually("the first lease is fenced", async || {
        let fenced = sqlx::query_scalar("select fenced from pgworkflows.leases order by claimed_at limit 1");
        let fenced: bool = fenced.fetch_one(&mut env.connection().await).await.unwrap();
        fenced.then_some(())
    })
    .await;
    let history = run.history().await.unwrap();

    first.resume();
    // It continues under another lease as soon as the second worker is gone.
    drop(second);
    let other = env.start_trial("Beta").await.unwrap();
    assert_eq!(env.finish_trial(&other).await, "Beta upgraded to pro.");

    assert_nothing_under_the_old_lease(&first.lines(), moment);
    assert_eq!(run.history().await.unwrap(), history, "an event was written after the end");
    env.log().await.check();
    assert_no_recorded_activity_ran_again(&env, &run, Some(first.id())).await;
    assert_no_recorded_activity_ran_again(&env, &other, None).await;
}

fn assert_nothing_under_the_old_lease(lines: &[String], moment: &str) {
    let mut lines_after = lines.iter().skip_while(|line| !line.starts_with("SIGSTOP"));
    let (_, lease) = lines_after.next().unwrap().rsplit_once(' ').unwrap();
    let (old, new): (Vec<_>, Vec<_>) = lines_after
        .filter(|line| line.starts_with("append"))
        .partition(|line| line.contains(&format!("of lease {lease}:")));
    let committed = old.iter().filter(|line| line.ends_with("committed")).count();
    // It learns of an append that was committed before it was stopped.
    assert!(committed <= usize::from(moment == "after"), "{lines:#?}");
    assert!(old.len() <= 1, "it continued under the old lease: {lines:#?}");
    assert!(new.iter().any(|line| line.ends_with("committed")), "it did not continue: {lines:#?}");
}
