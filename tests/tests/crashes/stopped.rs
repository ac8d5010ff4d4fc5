//! A worker process is stopped for longer than its lease lives, at every boundary of a commit, and goes on.

use futures::{StreamExt, stream};

use crate::env::World;
use crate::killed::{APPENDS, APPENDS_LEAST, assert_no_recorded_activity_ran_again};
use crate::process::TrialWorker;
use crate::wait::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stopped_before_any_commit_past_its_lease_commits_nothing_more_under_it() {
    stop_at_every("before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stopped_after_any_commit_past_its_lease_does_nothing_more_under_it() {
    stop_at_every("after").await;
}

async fn stop_at_every(moment: &'static str) {
    let cases = stream::iter(1..=APPENDS).map(async |append| stop_at(moment, append).await);
    let hit: Vec<bool> = cases.buffered(4).collect().await;
    let count = hit.iter().filter(|hit| **hit).count();
    assert!(count >= APPENDS_LEAST, "only {count} appends were reached: {hit:?}");
    assert_eq!(hit.last(), Some(&false), "the trial takes more appends than are tried: {hit:?}");
}

/// One run whose first worker is stopped there, and goes on when it is over. Whether it came that far.
async fn stop_at(moment: &str, append: usize) -> bool {
    let world = World::new().await;
    world.make_executions().await;
    let run = world.start_trial("Acme").await.unwrap();
    let first = TrialWorker::spawn(world.url(), &["stop", moment, &append.to_string()]);
    let second = async {
        until("the first worker is stopped, or the run is over", async || {
            (first.is_stopped() || run.status().await.unwrap().is_over()).then_some(())
        })
        .await;
        first.is_stopped().then(|| TrialWorker::spawn(world.url(), &[]))
    };
    let (result, second) = futures::join!(world.finish_trial(&run), second);
    assert_eq!(result, "Acme upgraded to pro.", "stopped {moment} append {append}");
    let Some(second) = second else { return false };
    // The last commit of a run needs nobody to take over.
    until("the first lease is fenced", async || {
        let fenced = sqlx::query_scalar("select fenced from pgworkflows.leases order by claimed_at limit 1");
        let fenced: bool = fenced.fetch_one(&mut world.connection().await).await.unwrap();
        fenced.then_some(())
    })
    .await;
    let history = run.history().await.unwrap();

    first.resume();
    // It goes on under another lease as soon as the second worker leaves it something to do.
    drop(second);
    let other = world.start_trial("Beta").await.unwrap();
    assert_eq!(world.finish_trial(&other).await, "Beta upgraded to pro.");

    assert_nothing_under_the_old_lease(&first.lines(), moment);
    assert_eq!(run.history().await.unwrap(), history, "something was written after the end");
    world.log().await.check();
    assert_no_recorded_activity_ran_again(&world, &run, Some(first.id())).await;
    assert_no_recorded_activity_ran_again(&world, &other, None).await;
    true
}

fn assert_nothing_under_the_old_lease(lines: &[String], moment: &str) {
    let mut lines_after = lines.iter().skip_while(|line| !line.starts_with("SIGSTOP"));
    let (_, lease) = lines_after.next().unwrap().rsplit_once(' ').unwrap();
    let (old, new): (Vec<_>, Vec<_>) = lines_after
        .filter(|line| line.starts_with("append"))
        .partition(|line| line.contains(&format!("of lease {lease}:")));
    let committed = old.iter().filter(|line| line.ends_with("committed")).count();
    // What was committed before it stopped, it learns of afterwards.
    assert!(committed <= usize::from(moment == "after"), "{lines:#?}");
    assert!(old.len() <= 1, "it went on under the old lease: {lines:#?}");
    assert!(new.iter().any(|line| line.ends_with("committed")), "it did not go on: {lines:#?}");
}
