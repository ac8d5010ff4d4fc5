//! Cancellation is a request to which the workflow reacts; termination ends the run without its code.

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, Journal, activity, count, history_text, logged, promises, workflow,
};

promises![
    cancellation_is_an_error_at_the_next_await,
    cancelled_workflow_may_clean_up_before_it_returns,
    cancelled_workflow_may_return_its_own_outcome,
    cancelled_workflow_that_fails_has_failed,
    cancellation_cancels_an_activity_in_flight_and_its_token,
    call_that_waits_for_its_outcome_outlives_a_cancellation,
    all_awaited_calls_are_cancelled_in_the_order_of_the_calls,
    second_cancellation_has_no_effect,
    cancellation_survives_a_crash_during_the_clean_up,
    cancellation_without_a_worker_waits_for_one,
    terminated_run_executes_no_more_code,
    termination_without_a_worker_waits_for_one,
    reasons_are_part_of_the_error_of_the_result,
];

activity!(Note, "note", String => ());
activity!(Hold, "hold", () => ());

const GO: Signal<String> = Signal::new("go");

workflow!(Sleeper, "sleeper", |ctx: Context, answer: String| -> WorkflowResult<String> {
    let Err(error) = ctx.sleep(Duration::from_secs(3600)).await else { return Ok("slept".to_owned()) };
    assert!(error.is_cancelled(), "{error}");
    ctx.activity::<Note>("cleaned up".to_owned()).await?;
    match &*answer {
        "agree" => Err(error),
        "fail" => Err(WorkflowError::new("dirty", "it could not be cleaned")),
        _ => Ok(answer),
    }
});

workflow!(Plain, "plain", |ctx: Context, _input: ()| -> WorkflowResult<String> {
    ctx.activity::<Note>("begun".to_owned()).await?;
    ctx.wait_for(GO).await
});

fn equip(worker: WorkerBuilder, journal: &Journal) -> WorkerBuilder {
    let worker = worker.workflow::<Sleeper>().workflow::<Plain>();
    worker.activity(Note(journal.noting()))
}

async fn sleeper(env: &Env, journal: &Journal, answer: &str) -> pgworkflows::RunHandle<Sleeper> {
    env.run(equip(env.worker(), journal));
    let run = env.client.start::<Sleeper>(answer.to_owned()).await.unwrap();
    logged(&run, "timer.started", 1).await;
    run.cancel().await.unwrap();
    run
}

async fn cancellation_is_an_error_at_the_next_await(env: Env) {
    let journal = Journal::default();
    env.run(equip(env.worker(), &journal));
    let run = env.client.start::<Plain>(()).await.unwrap();
    journal.has("begun", 1).await;
    run.cancel().await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    assert_eq!(error.run(), Some(run.run_id()));
    assert_eq!(run.status().await.unwrap(), RunStatus::Cancelled);
    assert_eq!(history_text(&run).await[3..], ["cancel.requested", "run.cancelled"]);
}

async fn cancelled_workflow_may_clean_up_before_it_returns(env: Env) {
    let journal = Journal::default();
    let run = sleeper(&env, &journal, "agree").await;
    assert!(run.result().await.unwrap_err().is_run_cancelled());
    assert_eq!(journal.lines(), ["cleaned up"]);
    assert_eq!(
        history_text(&run).await,
        [
            "run.started",
            "timer.started",
            "cancel.requested",
            "timer.cancelled",
            "activity.scheduled note",
            "activity.completed",
            "run.cancelled",
        ]
    );
}

async fn cancelled_workflow_may_return_its_own_outcome(env: Env) {
    let run = sleeper(&env, &Journal::default(), "it was done already").await;
    assert_eq!(run.result().await.unwrap(), "it was done already");
    assert_eq!(run.status().await.unwrap(), RunStatus::Completed);
}

async fn cancelled_workflow_that_fails_has_failed(env: Env) {
    let run = sleeper(&env, &Journal::default(), "fail").await;
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_failed(), "{error}");
    assert_eq!(error.failure().unwrap().type_name, "dirty");
}

async fn cancellation_cancels_an_activity_in_flight_and_its_token(env: Env) {
    workflow!(Busy, "busy", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        ctx.activity::<Hold>(()).await
    });

    let journal = Journal::default();
    let hold = Hold(ActivityFn::with(journal.clone(), |journal, ctx, ()| async move {
        journal.note("begun");
        ctx.cancellation().cancelled().await;
        journal.note("cancelled");
        Ok(())
    }));
    env.run(env.worker().workflow::<Busy>().activity(hold));
    let run = env.client.start::<Busy>(()).await.unwrap();
    journal.has("begun", 1).await;
    run.cancel().await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_cancelled());
    journal.has("cancelled", 1).await;
    assert_eq!(history_text(&run).await[2..], ["cancel.requested", "activity.cancelled", "run.cancelled"]);
}

async fn call_that_waits_for_its_outcome_outlives_a_cancellation(env: Env) {
    workflow!(Patient, "patient", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        let hold = ctx.activity::<Hold>(()).wait_for_outcome();
        let (held, slept) = futures::future::join(hold, ctx.sleep(Duration::from_secs(3600))).await;
        assert!(slept.unwrap_err().is_cancelled());
        held?;
        Ok("it is done".to_owned())
    });

    // Given a run whose activity is in flight when it is cancelled
    let gate = Gate::closed();
    let hold = Hold(ActivityFn::with(gate.clone(), |gate, _, ()| async move {
        gate.pass().await;
        Ok(())
    }));
    env.run(env.worker().workflow::<Patient>().activity(hold));
    let run = env.client.start::<Patient>(()).await.unwrap();
    logged(&run, "timer.started", 1).await;
    run.cancel().await.unwrap();
    logged(&run, "timer.cancelled", 1).await;
    // Then only its other calls are cancelled
    gate.open();
    assert_eq!(run.result().await.unwrap(), "it is done");
    assert_eq!(count(&run, "activity.cancelled").await, 0);
}

async fn all_awaited_calls_are_cancelled_in_the_order_of_the_calls(env: Env) {
    workflow!(Wide, "wide", |ctx: Context, _input: ()| -> WorkflowResult<usize> {
        let (held, slept, heard, stepped) = futures::join!(
            ctx.activity::<Hold>(()),
            ctx.sleep(Duration::from_secs(3600)),
            ctx.wait_for(GO),
            ctx.step("endless", std::future::pending::<ActivityResult<()>>),
        );
        let errors = [held.unwrap_err(), slept.unwrap_err(), heard.unwrap_err(), stepped.unwrap_err()];
        Ok(errors.iter().filter(|error| error.is_cancelled()).count())
    });

    let gate = Gate::closed();
    env.run(env.worker().workflow::<Wide>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Wide>(()).await.unwrap();
    logged(&run, "timer.started", 1).await;
    run.cancel().await.unwrap();
    assert_eq!(run.result().await.unwrap(), 4);
    assert_eq!(
        history_text(&run).await[3..],
        ["cancel.requested", "activity.cancelled", "timer.cancelled", "run.completed"]
    );
    gate.open();
}

async fn second_cancellation_has_no_effect(env: Env) {
    workflow!(Thorough, "thorough", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        let error = ctx.wait_for(GO).await.unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        // Later calls work as usual, even after another cancellation.
        ctx.wait_for(GO).await
    });

    env.run(env.worker().workflow::<Thorough>());
    let run = env.client.start::<Thorough>(()).await.unwrap();
    run.cancel().reason("first").await.unwrap();
    logged(&run, "cancel.requested", 1).await;
    run.cancel().reason("second").await.unwrap();
    run.signal(GO, "cleaned".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "cleaned");
    assert_eq!(count(&run, "cancel.requested").await, 1);
}

async fn cancellation_survives_a_crash_during_the_clean_up(env: Env) {
    let (lost, journal) = (Journal::default(), Journal::default());
    let hangs = Note(ActivityFn::with(lost.clone(), |lost, _, what| async move {
        lost.note(what);
        std::future::pending().await
    }));
    let worker = env.run_killable(|worker| worker.workflow::<Sleeper>().activity(hangs)).await;
    let run = env.client.start::<Sleeper>("agree".to_owned()).await.unwrap();
    run.cancel().reason("over").await.unwrap();
    lost.has("cleaned up", 1).await;
    worker.kill().await;

    env.run(equip(env.worker(), &journal));
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    assert_eq!(error.reason(), Some("over"));
    assert_eq!(journal.lines(), ["cleaned up"]);
}

async fn cancellation_without_a_worker_waits_for_one(env: Env) {
    let journal = Journal::default();
    let run = env.client.start::<Plain>(()).await.unwrap();
    run.cancel().await.unwrap();
    assert!(!run.status().await.unwrap().is_over());
    env.run(equip(env.worker(), &journal));
    assert!(run.result().await.unwrap_err().is_run_cancelled());
}

async fn terminated_run_executes_no_more_code(env: Env) {
    let journal = Journal::default();
    env.run(equip(env.worker(), &journal));
    let run = env.client.start::<Sleeper>("agree".to_owned()).await.unwrap();
    logged(&run, "timer.started", 1).await;
    run.terminate("enough").await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_terminated());
    assert_eq!(run.status().await.unwrap(), RunStatus::Terminated);
    assert_eq!(journal.lines(), [""; 0]);
    assert_eq!(history_text(&run).await, ["run.started", "timer.started", "run.terminated"]);
}

async fn termination_without_a_worker_waits_for_one(env: Env) {
    let run = env.client.start::<Sleeper>("agree".to_owned()).await.unwrap();
    run.terminate("nobody wants it").await.unwrap();
    env.run(equip(env.worker(), &Journal::default()));
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_terminated(), "{error}");
}

async fn reasons_are_part_of_the_error_of_the_result(env: Env) {
    env.run(equip(env.worker(), &Journal::default()));
    let cancelled = env.client.start::<Plain>(()).await.unwrap();
    cancelled.cancel().reason("the customer left").await.unwrap();
    let error = cancelled.result().await.unwrap_err();
    assert_eq!(error.reason(), Some("the customer left"));
    assert!(error.to_string().contains("the customer left"), "{error}");

    let terminated = env.client.start::<Plain>(()).await.unwrap();
    terminated.terminate("the law says so").await.unwrap();
    let error = terminated.result().await.unwrap_err();
    assert!(error.to_string().contains("terminated: the law says so"), "{error}");

    let long = "x".repeat(5000);
    let error = terminated.cancel().reason(long).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("5000 bytes"), "{error}");
}
