//! A trial whose first worker process is killed or stopped at an append, and what must be true of it afterwards.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use pgworkflows::RunHandle;
use pgworkflows::history::Event;
use pgworkflows_examples::trial::trial_onboarding;
use pgworkflows_tests::eventually;
use sqlx::Row;

use crate::env::PgEnv;
use crate::process::TrialWorker;

/// More appends than the trial needs, however its events are batched.
const APPENDS: usize = 12;

/// The trial needs at least six appends. The last one ends the run, which may be seen before its worker is lost.
const APPENDS_LEAST: usize = 5;

/// A trial whose first worker was lost at an append, and which another worker has completed.
pub(crate) struct Interrupted {
    pub(crate) env: PgEnv,
    pub(crate) run: RunHandle<trial_onboarding>,
    pub(crate) first: TrialWorker,
    /// The worker that took over. `None` if the trial ended before that append.
    pub(crate) second: Option<TrialWorker>,
}

/// Runs a trial whose first worker sends itself the signal `kill` or `stop`, `before` or `after` that append.
async fn interrupt(signal: &str, moment: &str, append: usize) -> Interrupted {
    let env = PgEnv::new().await;
    env.create_executions().await;
    let run = env.start_trial("Acme").await.unwrap();
    let mut first = TrialWorker::spawn(env.url(), &[signal, moment, &append.to_string()]);
    let second = async {
        eventually("the first worker is lost, or the run is over", async || {
            let lost = if signal == "kill" { first.was_killed() } else { first.is_stopped() };
            if lost {
                return Some(Some(TrialWorker::spawn(env.url(), &[])));
            }
            run.status().await.unwrap().is_over().then_some(None)
        })
        .await
    };
    let (result, second) = futures::join!(env.finish_trial(&run), second);
    assert_eq!(result, "Acme upgraded to pro.", "{signal} {moment} append {append}");
    Interrupted { env, run, first, second }
}

/// Interrupts a trial at each of its appends in turn, and checks the result.
pub(crate) async fn interrupt_at_every_append(signal: &str, moment: &str, check: impl AsyncFn(Interrupted)) {
    let cases = stream::iter(1..=APPENDS).map(async |append| {
        let interrupted = interrupt(signal, moment, append).await;
        let reached = interrupted.second.is_some();
        check(interrupted).await;
        reached
    });
    let reached: Vec<bool> = cases.buffered(4).collect().await;
    let count = reached.iter().filter(|reached| **reached).count();
    assert!(count >= APPENDS_LEAST, "only {count} appends were reached: {reached:?}");
    assert_eq!(reached.last(), Some(&false), "the trial needs more appends than are tried: {reached:?}");
}

/// Asserts that each activity has one outcome, and that no execution began after its outcome was in the log. Each
/// execution recorded the last event at its begin. An execution that a stopped process had begun cannot be prevented.
pub(crate) async fn assert_no_recorded_activity_ran_again(
    env: &PgEnv,
    run: &RunHandle<trial_onboarding>,
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
    let rows = rows.fetch_all(&mut env.connection().await).await.unwrap();
    let executions: Vec<(String, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (activity, recorded) in completed {
        let seen = executions.iter().filter(|execution| execution.0 == activity).map(|execution| execution.1);
        let last = seen.max();
        assert!(last.is_some(), "activity `{activity}` has an outcome, but never ran: {executions:?}");
        assert!(
            last < Some(recorded),
            "activity `{activity}` is event {recorded} and ran again: {executions:?}"
        );
    }
}
