//! Changed code: a run whose code no longer matches its history stalls, says why, and resumes under code that matches.

use pgworkflows::RunHandle;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{
    Env, Journal, activity, assert_contains, count, history_text, logged, promises, stall_reason, workflow,
};

promises![
    reordered_code_stalls_with_a_diagnosis,
    run_resumes_under_code_that_matches_again,
    signals_that_arrived_during_a_stall_are_consumed_in_order_and_with_their_times,
    stalled_run_does_not_affect_other_runs_of_its_shard,
    step_that_was_removed_from_the_code_is_named_by_the_stall,
    stalled_run_can_be_terminated,
    early_return_is_a_divergence,
];

activity!(Pack, "pack", String => ());
activity!(Ship, "ship", String => ());

const GO: Signal<String> = Signal::new("go");

workflow!(Order, "order", |ctx: Context, item: String| -> WorkflowResult<Vec<String>> {
    ctx.activity::<Pack>(item.clone()).await?;
    let first = ctx.wait_for(GO).await?;
    let second = format!("{} at {}", ctx.wait_for(GO).await?, ctx.now());
    ctx.activity::<Ship>(item).await?;
    Ok(vec![first, second])
});

// New code under the same stored name.
workflow!(Reordered, "order", |ctx: Context, item: String| -> WorkflowResult<Vec<String>> {
    ctx.activity::<Ship>(item.clone()).await?;
    ctx.activity::<Pack>(item).await?;
    Ok(Vec::new())
});

fn equip(worker: WorkerBuilder, journal: &Journal) -> WorkerBuilder {
    worker.activity(Pack(journal.noting())).activity(Ship(journal.noting()))
}

/// A run of the old code that has packed and waits, and whose worker was shut down for a deploy.
async fn run_of_old_code(env: &Env, journal: &Journal) -> RunHandle<Order> {
    let worker = env.run(equip(env.worker().workflow::<Order>(), journal));
    let run = env.client.start::<Order>("book".to_owned()).await.unwrap();
    logged(&run, "activity.completed", 1).await;
    worker.stop().await;
    run
}

async fn reordered_code_stalls_with_a_diagnosis(env: Env) {
    let journal = Journal::default();
    let run = run_of_old_code(&env, &journal).await;

    // When code that ships first is deployed, and a signal arrives
    env.run(equip(env.worker().workflow::<Reordered>(), &journal));
    run.signal(GO, "go".to_owned()).await.unwrap();

    // Then nothing is executed, and the diagnosis names the run, the event, the call and the remedy
    let parts = [
        &*run.run_id().to_string(),
        "workflow `order`",
        "event 2 of the log is activity.scheduled `pack`",
        "schedules activity `ship`",
        "replay.rs:",
        "Deploy the code that wrote this history",
    ];
    assert_contains(stall_reason(&run).await, &parts);
    assert_eq!(journal.lines(), ["book"]);
}

async fn run_resumes_under_code_that_matches_again(env: Env) {
    // Given a run that stalled under the wrong code
    let journal = Journal::default();
    let run = run_of_old_code(&env, &journal).await;
    let wrong = env.run(equip(env.worker().workflow::<Reordered>(), &journal));
    run.signal(GO, "go".to_owned()).await.unwrap();
    stall_reason(&run).await;
    wrong.stop().await;

    // When the right code is back
    env.run(equip(env.worker().workflow::<Order>(), &journal));
    run.signal(GO, "on".to_owned()).await.unwrap();

    // Then the run resumes as if nothing had happened
    assert_eq!(run.result().await.unwrap()[0], "go");
    assert_eq!(journal.lines(), ["book", "book"]);
    let history = history_text(&run).await;
    let stall = history.iter().position(|event| event == "run.stalled").unwrap();
    assert_eq!(history[stall - 1..][..3], ["run.adopted", "run.stalled", "signal.received go"]);
    assert_eq!(history[stall + 2..][..2], ["run.adopted", "run.resumed"]);
    assert_eq!(count(&run, "run.stalled").await, 1);
}

async fn signals_that_arrived_during_a_stall_are_consumed_in_order_and_with_their_times(env: Env) {
    // Given a stalled run that receives two signals
    let journal = Journal::default();
    let run = run_of_old_code(&env, &journal).await;
    let wrong = env.run(equip(env.worker().workflow::<Reordered>(), &journal));
    for word in ["one", "two"] {
        run.signal(GO, word.to_owned()).await.unwrap();
    }
    logged(&run, "signal.received", 2).await;
    wrong.stop().await;

    // When the right code is deployed
    env.run(equip(env.worker().workflow::<Order>(), &journal));
    let heard = run.result().await.unwrap();

    // Then it consumes them in order, each at the time of its arrival
    let history = run.history().await.unwrap();
    let signals: Vec<_> = history
        .iter()
        .filter(|event| matches!(event.event, Event::SignalReceived { .. }))
        .map(|event| event.at)
        .collect();
    assert_eq!(heard, ["one".to_owned(), format!("two at {}", signals[1])]);
    let released = history.iter().find_map(|event| match event.event {
        Event::RunResumed { released, .. } => Some(released),
        _ => None,
    });
    assert_eq!(released, Some(2));
}

async fn stalled_run_does_not_affect_other_runs_of_its_shard(env: Env) {
    workflow!(Echo, "echo", |ctx: Context, word: String| -> WorkflowResult<String> {
        ctx.sleep(Duration::from_millis(5)).await?;
        Ok(word)
    });

    let journal = Journal::default();
    let run = run_of_old_code(&env, &journal).await;
    env.run(equip(env.worker().workflow::<Reordered>(), &journal).workflow::<Echo>());
    run.signal(GO, "go".to_owned()).await.unwrap();
    stall_reason(&run).await;

    // Enough runs that every shard has some.
    let mut others = Vec::new();
    for number in 0..40 {
        others.push(env.client.start::<Echo>(number.to_string()).await.unwrap());
    }
    assert!(others.iter().any(|other| other.run_id().shard() == run.run_id().shard()));
    for (number, other) in others.iter().enumerate() {
        assert_eq!(other.result().await.unwrap(), number.to_string());
    }
}

async fn step_that_was_removed_from_the_code_is_named_by_the_stall(env: Env) {
    workflow!(RateWithStep, "rate", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        let rate: u32 = ctx.step("exchange-rate", || async { Ok(108) }).await?;
        ctx.wait_for(GO).await?;
        Ok(rate)
    });
    workflow!(Rate, "rate", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        ctx.wait_for(GO).await?;
        Ok(0)
    });

    let worker = env.run(env.worker().workflow::<RateWithStep>());
    let run = env.client.start::<RateWithStep>(()).await.unwrap();
    logged(&run, "step.completed", 1).await;
    worker.stop().await;

    env.run(env.worker().workflow::<Rate>());
    run.signal(GO, "go".to_owned()).await.unwrap();
    assert_contains(stall_reason(&run).await, &["step `exchange-rate` (call 1)", "signal `go` at"]);
}

async fn stalled_run_can_be_terminated(env: Env) {
    let journal = Journal::default();
    let run = run_of_old_code(&env, &journal).await;
    env.run(equip(env.worker().workflow::<Reordered>(), &journal));
    run.signal(GO, "go".to_owned()).await.unwrap();
    stall_reason(&run).await;

    run.terminate("nobody wants it any more").await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_terminated(), "{error}");
    assert_eq!(error.reason(), Some("nobody wants it any more"));
}

async fn early_return_is_a_divergence(env: Env) {
    // The new code returns where the old code continued, and the log has events after that.
    workflow!(Hasty, "order", |ctx: Context, item: String| -> WorkflowResult<Vec<String>> {
        ctx.activity::<Pack>(item).await?;
        Ok(Vec::new())
    });

    let journal = Journal::default();
    let run = run_of_old_code(&env, &journal).await;
    env.run(equip(env.worker().workflow::<Hasty>(), &journal));
    run.signal(GO, "go".to_owned()).await.unwrap();
    assert_contains(stall_reason(&run).await, &["returns a value"]);
}
