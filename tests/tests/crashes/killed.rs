//! A worker process is killed by `SIGKILL` at every boundary of a commit, and another one goes on.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use pgworkflows::RunHandle;
use pgworkflows::history::Event;
use pgworkflows_examples::trial::TrialOnboarding;
use sqlx::Row;

use crate::env::World;
use crate::process::TrialWorker;
use crate::wait::until;

/// More appends than the trial takes, however its events fall into batches.
pub(crate) const APPENDS: usize = 12;

/// Fewer than it takes.
pub(crate) const APPENDS_LEAST: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_before_any_commit_leaves_nothing_undone_and_nothing_done_twice() {
    kill_at_every("before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_after_any_commit_leaves_nothing_undone_and_nothing_done_twice() {
    kill_at_every("after").await;
}

/// The third death puts the run under suspicion: it is marked before it is worked on, its attempts are logged and
/// counted, and still it ends. The first three workers die of their first append, for the trial may take no more than
/// [`APPENDS_LEAST`]; the others of their third, for the first one marks the run, the second logs an attempt, and the third
/// what came of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_every_worker_is_killed_ends_all_the_same() {
    let world = World::new().await;
    world.make_executions().await;
    let run = world.start_trial("Acme").await.unwrap();
    let mut deaths = 0;
    let fatal = |deaths| if deaths < 3 { "1" } else { "3" };
    let mut worker = TrialWorker::spawn(world.url(), &["kill", "after", fatal(deaths)]);
    let workers = until("the run is over", async || {
        if worker.was_killed() {
            deaths += 1;
            worker = TrialWorker::spawn(world.url(), &["kill", "after", fatal(deaths)]);
        }
        run.status().await.unwrap().is_over().then_some(())
    });
    let (result, ()) = futures::join!(world.finish_trial(&run), workers);
    assert_eq!(result, "Acme upgraded to pro.");
    assert!(deaths >= 3, "only {deaths} workers were killed");
    world.log().await.check();
    assert_no_recorded_activity_ran_again(&world, &run, None).await;
}

async fn kill_at_every(moment: &'static str) {
    let cases = stream::iter(1..=APPENDS).map(async |append| kill_at(moment, append).await);
    let hit: Vec<bool> = cases.buffered(4).collect().await;
    let count = hit.iter().filter(|hit| **hit).count();
    assert!(count >= APPENDS_LEAST, "only {count} appends were reached: {hit:?}");
    assert_eq!(hit.last(), Some(&false), "the trial takes more appends than are tried: {hit:?}");
}

/// One run whose first worker is killed there. Whether it came that far.
async fn kill_at(moment: &str, append: usize) -> bool {
    let world = World::new().await;
    world.make_executions().await;
    let run = world.start_trial("Acme").await.unwrap();
    let mut first = TrialWorker::spawn(world.url(), &["kill", moment, &append.to_string()]);
    let second = async {
        until("the first worker is killed, or the run is over", async || {
            (first.was_killed() || run.status().await.unwrap().is_over()).then_some(())
        })
        .await;
        first.was_killed().then(|| TrialWorker::spawn(world.url(), &[]))
    };
    let (result, second) = futures::join!(world.finish_trial(&run), second);
    assert_eq!(result, "Acme upgraded to pro.", "killed {moment} append {append}");
    world.log().await.check();
    assert_no_recorded_activity_ran_again(&world, &run, None).await;
    second.is_some()
}

/// Every execution noted how far the log reached when it began. None began after its outcome was in the log, and
/// each activity has one outcome. What a process had begun when it was stopped, nothing can take back.
pub(crate) async fn assert_no_recorded_activity_ran_again(
    world: &World,
    run: &RunHandle<TrialOnboarding>,
    stopped: Option<u32>,
) {
    let mut activities = BTreeMap::new();
    let mut completed = BTreeMap::new();
    for event in run.history().await.unwrap() {
        match event.event {
            Event::ActivityScheduled { id, activity, .. } => {
                activities.insert(id, activity.to_string());
            }
            Event::ActivityCompleted { id, .. } => {
                let twice = completed.insert(activities[&id].clone(), event.seq.get().cast_signed());
                assert_eq!(twice, None, "activity `{}` has two outcomes", activities[&id]);
            }
            _ => {}
        }
    }
    assert_eq!(completed.len(), 4, "{completed:?}");
    let rows = sqlx::query(
        "select activity, case when process = $2 and not resumed then 0 else seq_seen end
         from executions where run_id::text = $1 order by id",
    );
    let rows = rows.bind(run.run_id().to_string()).bind(stopped.map(u32::cast_signed));
    let rows = rows.fetch_all(&mut world.connection().await).await.unwrap();
    let executions: Vec<(String, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (activity, recorded) in completed {
        let seen: Vec<i32> = executions
            .iter()
            .filter(|execution| execution.0 == activity)
            .map(|execution| execution.1)
            .collect();
        assert!(!seen.is_empty(), "activity `{activity}` has an outcome, but never ran: {executions:?}");
        assert!(
            seen.iter().all(|seen| *seen < recorded),
            "activity `{activity}` was recorded as event {recorded} and ran again: {executions:?}"
        );
    }
}
