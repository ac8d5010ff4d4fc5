//! `resume`: a run that was set aside or has stalled is tried again, and any other run is left as it is.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows_tests::{
    Env, assert_contains, eventually, history_text, logged, promises, reached, stall_reason, workflow,
};

promises![
    run_that_was_set_aside_goes_on_with_all_its_signals_once_it_is_resumed,
    stalled_run_is_tried_again_by_the_same_worker_once_it_is_resumed,
    resuming_a_run_that_goes_on_changes_nothing,
    run_that_is_over_or_unknown_cannot_be_resumed,
];

const GO: Signal<String> = Signal::new("go");

/// Tokens of runs whose code is faulty, and how often that code has met the fault.
static FAULTY: Mutex<BTreeMap<u64, u32>> = Mutex::new(BTreeMap::new());

/// A token of a run whose code is faulty until [`mend`].
fn faulty() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let token = LAST.fetch_add(1, Ordering::SeqCst);
    FAULTY.lock().unwrap().insert(token, 0);
    token
}

/// The code of the run with this token meets its fault, if it has one.
fn meets_fault(token: u64) -> bool {
    FAULTY.lock().unwrap().get_mut(&token).map(|times| *times += 1).is_some()
}

fn times_met(token: u64) -> u32 {
    FAULTY.lock().unwrap().get(&token).copied().unwrap_or_default()
}

fn mend(token: u64) {
    FAULTY.lock().unwrap().remove(&token);
}

workflow!(Hangs, "hangs", |ctx: Context, token: u64| -> WorkflowResult<Vec<String>> {
    let first = ctx.wait_for(GO).await?;
    while meets_fault(token) {
        // Nothing of its worker continues, as if its process were killed, because the worker has no other thread.
        std::thread::park();
    }
    Ok(vec![first, ctx.wait_for(GO).await?, ctx.wait_for(GO).await?])
});

async fn run_that_was_set_aside_goes_on_with_all_its_signals_once_it_is_resumed(env: Env) {
    // Given a run whose code is the end of every worker that polls it, until it is set aside
    let token = faulty();
    let run = env.client.start::<Hangs>(token).await.unwrap();
    run.signal(GO, "one".to_owned()).await.unwrap();
    let mut workers = Vec::new();
    let mut is_aside = false;
    while !is_aside {
        let met = times_met(token);
        workers.push(env.run_killable(|worker| worker.workflow::<Hangs>().deaths_max(1, 5)).await);
        is_aside = eventually("the worker hangs, or sets the run aside", async || {
            let is_aside = run.status().await.unwrap() == RunStatus::Stalled;
            (is_aside || times_met(token) > met).then_some(is_aside)
        })
        .await;
    }
    assert_contains(stall_reason(&run).await, &["the run was set aside: 5 times", "RunHandle::resume"]);
    run.signal(GO, "two".to_owned()).await.unwrap();
    // When its code is mended and it is resumed, and another signal follows
    mend(token);
    run.resume().await.unwrap();
    run.signal(GO, "three".to_owned()).await.unwrap();
    // Then the worker that set it aside brings it back, and it gets its signals in their order
    assert_eq!(run.result().await.unwrap(), ["one", "two", "three"]);
}

workflow!(Panics, "panics", |ctx: Context, token: u64| -> WorkflowResult<String> {
    let word = ctx.wait_for(GO).await?;
    assert!(!meets_fault(token), "a service is not there");
    Ok(word)
});

async fn stalled_run_is_tried_again_by_the_same_worker_once_it_is_resumed(env: Env) {
    // Given a run that stalled
    let token = faulty();
    env.run(env.worker().workflow::<Panics>());
    let run = env.client.start::<Panics>(token).await.unwrap();
    run.signal(GO, "on".to_owned()).await.unwrap();
    assert_contains(stall_reason(&run).await, &["a service is not there"]);
    // When it is resumed too early, then it is tried, and stalls without another event
    let met = times_met(token);
    run.resume().await.unwrap();
    eventually("the run is tried", async || (times_met(token) > met).then_some(())).await;
    reached(&run, RunStatus::Stalled).await;
    // When it is resumed by a client that does not know its workflow
    mend(token);
    env.client.resume(run.run_id()).await.unwrap();
    // Then it goes on
    assert_eq!(run.result().await.unwrap(), "on");
    let history = history_text(&run).await;
    let expected = ["run.started", "run.stalled", "signal.received go", "run.resumed", "run.completed"];
    assert_eq!(history, expected);
}

async fn resuming_a_run_that_goes_on_changes_nothing(env: Env) {
    // Given a run that waits
    let token = faulty();
    mend(token);
    env.run(env.worker().workflow::<Panics>());
    let run = env.client.start::<Panics>(token).await.unwrap();
    reached(&run, RunStatus::Waiting).await;
    // When it is resumed several times
    for _ in 0..3 {
        run.resume().await.unwrap();
    }
    // Then its history does not tell
    run.signal(GO, "on".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "on");
    assert_eq!(history_text(&run).await, ["run.started", "signal.received go", "run.completed"]);
    assert!(run.describe().await.unwrap().undelivered.is_empty());
}

async fn run_that_is_over_or_unknown_cannot_be_resumed(env: Env) {
    let token = faulty();
    mend(token);
    env.run(env.worker().workflow::<Panics>());
    let run = env.client.start::<Panics>(token).await.unwrap();
    run.signal(GO, "on".to_owned()).await.unwrap();
    logged(&run, "run.completed", 1).await;
    assert!(run.resume().await.unwrap_err().is_run_over());
    let mut unknown = run.run_id().to_string();
    unknown.replace_range(35.., if unknown.ends_with('0') { "1" } else { "0" });
    let error = env.client.resume(unknown.parse().unwrap()).await.unwrap_err();
    assert!(error.is_unknown_run(), "{error}");
}
