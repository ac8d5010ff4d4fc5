//! Compensations undo what a failed run did, newest first.

use pgworkflows::RunHandle;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, Journal, activity, assert_contains, count, history_text, logged, promises,
    workflow,
};

promises![
    compensations_run_in_reverse_order_after_the_failure,
    completed_run_compensates_nothing,
    compensations_also_run_after_a_cancellation,
    failed_compensation_is_recorded_beside_the_error_and_does_not_stop_the_others,
    compensations_are_retried_by_their_own_policy,
    recorded_compensation_is_not_repeated_after_a_crash,
    termination_names_the_compensations_that_it_skips,
    termination_during_compensations_names_those_that_it_skips,
    cancellation_during_compensations_is_ignored,
    workflow_undoes_what_it_did_and_returns_a_business_result,
    dropped_round_goes_on_after_a_crash_and_the_end_waits_for_it,
    discarded_compensation_is_not_executed,
];

activity!(Charge, "charge", String => ());
activity!(Refund, "refund", String => ());
activity!(Restock, "restock", String => ());

const GO: Signal<()> = Signal::new("go");

workflow!(Order, "order", |ctx: Context, ending: String| -> WorkflowResult<()> {
    ctx.activity::<Charge>("reserved".to_owned()).await?;
    ctx.on_failure::<Restock>("restocked".to_owned());
    ctx.activity::<Charge>("charged".to_owned()).await?;
    ctx.on_failure::<Refund>("refunded".to_owned())
        .retry(RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(3));
    match &*ending {
        "wait" => ctx.wait_for(GO).await,
        "fail" => Err(WorkflowError::new("out-of-stock", "there is none left")),
        _ => Ok(()),
    }
});

fn equip(worker: WorkerBuilder, journal: &Journal, refund: Refund) -> WorkerBuilder {
    let worker = worker.workflow::<Order>().activity(refund);
    worker.activity(Charge(journal.noting())).activity(Restock(journal.noting()))
}

/// Starts an order, and a worker whose activities note what they do.
async fn order(env: &Env, ending: &str) -> (Journal, RunHandle<Order>) {
    let journal = Journal::default();
    env.run(equip(env.worker(), &journal, Refund(journal.noting())));
    let run = env.client.start::<Order>(ending.to_owned()).await.unwrap();
    (journal, run)
}

async fn compensations_run_in_reverse_order_after_the_failure(env: Env) {
    let (journal, run) = order(&env, "fail").await;

    let error = run.result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().type_name, "out-of-stock");
    assert_eq!(error.uncompensated(), []);
    assert_eq!(journal.lines(), ["reserved", "charged", "refunded", "restocked"]);
    assert_eq!(
        history_text(&run).await,
        [
            "run.started",
            "activity.scheduled charge",
            "activity.completed",
            "compensation.registered restock",
            "activity.scheduled charge",
            "activity.completed",
            "compensation.registered refund",
            "run.ending",
            "compensation.scheduled",
            "compensation.completed",
            "compensation.scheduled",
            "compensation.completed",
            "run.failed",
        ]
    );
}

async fn completed_run_compensates_nothing(env: Env) {
    let (journal, run) = order(&env, "succeed").await;
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["reserved", "charged"]);
    assert_eq!(count(&run, "compensation.scheduled").await, 0);
}

async fn compensations_also_run_after_a_cancellation(env: Env) {
    let (journal, run) = order(&env, "wait").await;
    journal.has("charged", 1).await;
    run.cancel().await.unwrap();

    let error = run.result().await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    assert!(journal.lines().ends_with(&["restocked".to_owned()]), "{:?}", journal.lines());
}

async fn failed_compensation_is_recorded_beside_the_error_and_does_not_stop_the_others(env: Env) {
    let journal = Journal::default();
    let refuse = |_, _| async { Err(ActivityError::new("bank-closed", "come back on Monday")) };
    env.run(equip(env.worker(), &journal, Refund(ActivityFn::new(refuse))));
    let run = env.client.start::<Order>("fail".to_owned()).await.unwrap();

    let error = run.result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().type_name, "out-of-stock");
    let [uncompensated] = error.uncompensated() else { panic!("{:?}", error.uncompensated()) };
    assert_eq!(uncompensated.activity, "refund");
    assert_eq!(uncompensated.failure.type_name, "bank-closed");
    assert_contains(&error, &["there is none left", "`refund`", "come back on Monday"]);
    assert_eq!(journal.lines(), ["reserved", "charged", "restocked"]);
}

async fn compensations_are_retried_by_their_own_policy(env: Env) {
    // Given a refund that succeeds at its third and last attempt
    let journal = Journal::default();
    let refund = Refund(ActivityFn::with(journal.clone(), |journal, ctx, what| async move {
        journal.note(format!("{what}? {}", ctx.attempt()));
        if ctx.attempt() < 3 { Err(ActivityError::new("busy", "try again")) } else { Ok(()) }
    }));
    env.run(equip(env.worker(), &journal, refund));
    let run = env.client.start::<Order>("fail".to_owned()).await.unwrap();

    assert_eq!(run.result().await.unwrap_err().uncompensated(), []);
    assert_eq!(journal.lines()[2..], ["refunded? 1", "refunded? 2", "refunded? 3", "restocked"]);
    assert_eq!(count(&run, "activity.attempt-failed").await, 2);
    assert_eq!(count(&run, "compensation.completed").await, 2);
}

async fn recorded_compensation_is_not_repeated_after_a_crash(env: Env) {
    // Given a worker that is killed between two compensations
    let (journal, gate) = (Journal::default(), Gate::closed());
    let equip = || {
        let state = (journal.clone(), gate.clone());
        let restock = Restock(ActivityFn::with(state, |(journal, gate), _, what| async move {
            journal.note(what);
            gate.pass().await;
            Ok(())
        }));
        let (charge, refund) = (Charge(journal.noting()), Refund(journal.noting()));
        |worker: WorkerBuilder| worker.workflow::<Order>().activity(charge).activity(refund).activity(restock)
    };
    let worker = env.run_killable(equip()).await;
    let run = env.client.start::<Order>("fail".to_owned()).await.unwrap();
    journal.has("restocked", 1).await;
    worker.kill().await;

    // When another takes over
    gate.open();
    env.run(equip()(env.worker()));
    assert!(run.result().await.unwrap_err().is_run_failed());
    assert_eq!(journal.lines(), ["reserved", "charged", "refunded", "restocked", "restocked"]);
    assert_eq!(count(&run, "compensation.completed").await, 2);
}

async fn termination_names_the_compensations_that_it_skips(env: Env) {
    let (journal, run) = order(&env, "wait").await;
    logged(&run, "compensation.registered", 2).await;
    run.terminate("fraud").await.unwrap();

    let error = run.result().await.unwrap_err();
    assert!(error.is_run_terminated(), "{error}");
    assert_eq!(error.reason(), Some("fraud"));
    assert_eq!(error.skipped_compensations(), ["refund", "restock"]);
    assert_eq!(journal.lines(), ["reserved", "charged"]);
    assert_eq!(history_text(&run).await.last().unwrap(), "run.terminated");
}

/// A run whose refund has begun, and waits at the gate.
async fn compensating_run(env: &Env, journal: &Journal, gate: &Gate) -> RunHandle<Order> {
    let state = (journal.clone(), gate.clone());
    let refund = Refund(ActivityFn::with(state, |(journal, gate), _, _| async move {
        journal.note("refunding");
        gate.pass().await;
        Ok(())
    }));
    env.run(equip(env.worker(), journal, refund));
    let run = env.client.start::<Order>("fail".to_owned()).await.unwrap();
    journal.has("refunding", 1).await;
    run
}

async fn termination_during_compensations_names_those_that_it_skips(env: Env) {
    let (journal, gate) = (Journal::default(), Gate::closed());
    let run = compensating_run(&env, &journal, &gate).await;
    run.terminate("enough").await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_terminated(), "{error}");
    assert_eq!(error.skipped_compensations(), ["refund", "restock"]);
    gate.open();
}

async fn cancellation_during_compensations_is_ignored(env: Env) {
    let (journal, gate) = (Journal::default(), Gate::closed());
    let run = compensating_run(&env, &journal, &gate).await;
    run.cancel().await.unwrap();
    gate.open();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_failed(), "{error}");
    assert_eq!(error.uncompensated(), []);
    let history = run.history().await.unwrap();
    assert!(!history.iter().any(|event| matches!(event.event, Event::CancelRequested { .. })));
}

workflow!(Purchase, "purchase", |ctx: Context, ending: String| -> WorkflowResult<String> {
    ctx.on_failure::<Restock>("restocked".to_owned());
    let refund = ctx.on_failure::<Refund>("refunded".to_owned());
    ctx.activity::<Charge>("charged".to_owned()).await?;
    match &*ending {
        "undo" => {
            let failed = ctx.compensate().await;
            Ok(failed.iter().map(|failed| failed.activity.clone()).collect())
        }
        "drop" => {
            drop(ctx.spawn(ctx.compensate()));
            Ok("dropped".to_owned())
        }
        _ => {
            refund.discard();
            ctx.sleep(Duration::from_millis(1)).await?;
            Err(WorkflowError::new("out-of-stock", "there is none left"))
        }
    }
});

async fn workflow_undoes_what_it_did_and_returns_a_business_result(env: Env) {
    let journal = Journal::default();
    let refuse =
        Refund(ActivityFn::new(|_, _| async { Err(ActivityError::new("bank-closed", "on Monday")) }));
    let worker = env.worker().workflow::<Purchase>().activity(Charge(journal.noting()));
    env.run(worker.activity(Restock(journal.noting())).activity(refuse));
    let run = env.client.start::<Purchase>("undo".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "refund");
    assert_eq!(journal.lines(), ["charged", "restocked"]);
    assert_eq!(
        history_text(&run).await[5..],
        [
            "compensations.begun",
            "compensation.scheduled",
            "compensation.failed",
            "compensation.scheduled",
            "compensation.completed",
            "compensations.ended",
            "run.completed",
        ]
    );
}

async fn dropped_round_goes_on_after_a_crash_and_the_end_waits_for_it(env: Env) {
    let (journal, gate) = (Journal::default(), Gate::closed());
    let equip = || {
        let state = (journal.clone(), gate.clone());
        let refund = Refund(ActivityFn::with(state, |(journal, gate), _, what| async move {
            journal.note(what);
            gate.pass().await;
            Ok(())
        }));
        let (charge, restock) = (Charge(journal.noting()), Restock(journal.noting()));
        |worker: WorkerBuilder| {
            worker.workflow::<Purchase>().activity(charge).activity(refund).activity(restock)
        }
    };
    let worker = env.run_killable(equip()).await;
    let run = env.client.start::<Purchase>("drop".to_owned()).await.unwrap();
    journal.has("refunded", 1).await;
    worker.kill().await;
    gate.open();
    env.run(equip()(env.worker()));
    assert_eq!(run.result().await.unwrap(), "dropped");
    assert_eq!(journal.lines(), ["charged", "refunded", "refunded", "restocked"]);
}

async fn discarded_compensation_is_not_executed(env: Env) {
    let journal = Journal::default();
    env.run(equip(env.worker(), &journal, Refund(journal.noting())).workflow::<Purchase>());
    let run = env.client.start::<Purchase>("discard".to_owned()).await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_failed());
    assert_eq!(journal.lines(), ["charged", "restocked"]);
}
