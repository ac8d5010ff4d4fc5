//! Cancellation is a request that the workflow answers; termination is not.

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{Bed, Gate, Journal, activity, count, eventually, promises, story, workflow};

promises![
    cancellation_is_an_error_at_the_next_await,
    cancelled_workflow_may_clean_up_before_it_returns,
    cancelled_workflow_may_return_an_outcome_of_its_own,
    cancelled_workflow_that_fails_has_failed,
    cancellation_cancels_what_is_under_way_and_tells_its_token,
    all_that_is_awaited_is_cancelled_in_the_order_of_the_calls,
    second_cancellation_asks_for_nothing_new,
    cancellation_survives_a_crash_amid_the_clean_up,
    cancellation_without_any_worker_waits_for_one,
    terminated_run_executes_no_more_of_its_code,
    termination_before_any_worker_came_ends_the_run,
    reasons_are_told_to_those_who_wait,
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
    worker.activity(Note::that(journal.noting()))
}

async fn sleeper(bed: &Bed, journal: &Journal, answer: &str) -> pgworkflows::RunHandle<Sleeper> {
    bed.work(equip(bed.worker(), journal));
    let run = bed.client.start::<Sleeper>(answer.to_owned()).await.unwrap();
    eventually("it sleeps", async || (count(&run, "timer.started").await == 1).then_some(())).await;
    run.cancel().await.unwrap();
    run
}

async fn cancellation_is_an_error_at_the_next_await(bed: Bed) {
    let journal = Journal::default();
    bed.work(equip(bed.worker(), &journal));
    let run = bed.client.start::<Plain>(()).await.unwrap();
    journal.shows("begun", 1).await;
    run.cancel().await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    assert_eq!(error.run(), Some(run.run_id()));
    assert_eq!(run.status().await.unwrap(), RunStatus::Cancelled);
    assert_eq!(story(&run).await[3..], ["cancel.requested", "run.cancelled"]);
}

async fn cancelled_workflow_may_clean_up_before_it_returns(bed: Bed) {
    let journal = Journal::default();
    let run = sleeper(&bed, &journal, "agree").await;
    assert!(run.result().await.unwrap_err().is_run_cancelled());
    assert_eq!(journal.lines(), ["cleaned up"]);
    assert_eq!(
        story(&run).await,
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

async fn cancelled_workflow_may_return_an_outcome_of_its_own(bed: Bed) {
    let run = sleeper(&bed, &Journal::default(), "it was done already").await;
    assert_eq!(run.result().await.unwrap(), "it was done already");
    assert_eq!(run.status().await.unwrap(), RunStatus::Completed);
}

async fn cancelled_workflow_that_fails_has_failed(bed: Bed) {
    let run = sleeper(&bed, &Journal::default(), "fail").await;
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_failed(), "{error}");
    assert_eq!(error.failure().unwrap().type_name, "dirty");
}

async fn cancellation_cancels_what_is_under_way_and_tells_its_token(bed: Bed) {
    workflow!(Busy, "busy", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        ctx.activity::<Hold>(()).await
    });

    let journal = Journal::default();
    let noted = journal.clone();
    let hold = Hold::that(move |ctx, ()| {
        let noted = noted.clone();
        async move {
            noted.note("begun");
            ctx.cancellation().cancelled().await;
            noted.note("told");
            Ok(())
        }
    });
    bed.work(bed.worker().workflow::<Busy>().activity(hold));
    let run = bed.client.start::<Busy>(()).await.unwrap();
    journal.shows("begun", 1).await;
    run.cancel().await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_cancelled());
    journal.shows("told", 1).await;
    assert_eq!(story(&run).await[2..], ["cancel.requested", "activity.cancelled", "run.cancelled"]);
}

async fn all_that_is_awaited_is_cancelled_in_the_order_of_the_calls(bed: Bed) {
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

    let gate = Gate::shut();
    bed.work(bed.worker().workflow::<Wide>().activity(Hold::that(gate.holding())));
    let run = bed.client.start::<Wide>(()).await.unwrap();
    eventually("it waits", async || (count(&run, "timer.started").await == 1).then_some(())).await;
    run.cancel().await.unwrap();
    assert_eq!(run.result().await.unwrap(), 4);
    assert_eq!(
        story(&run).await[3..],
        ["cancel.requested", "activity.cancelled", "timer.cancelled", "run.completed"]
    );
    gate.open();
}

async fn second_cancellation_asks_for_nothing_new(bed: Bed) {
    workflow!(Thorough, "thorough", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        let error = ctx.wait_for(GO).await.unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        // Later calls work as ever, whoever cancels again.
        ctx.wait_for(GO).await
    });

    bed.work(bed.worker().workflow::<Thorough>());
    let run = bed.client.start::<Thorough>(()).await.unwrap();
    run.cancel().reason("first").await.unwrap();
    eventually("it is cancelled", async || (count(&run, "cancel.requested").await == 1).then_some(())).await;
    run.cancel().reason("second").await.unwrap();
    run.signal(GO, "cleaned".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "cleaned");
    assert_eq!(count(&run, "cancel.requested").await, 1);
}

async fn cancellation_survives_a_crash_amid_the_clean_up(bed: Bed) {
    let (journal, noted) = (Journal::default(), Journal::default());
    let dying = noted.clone();
    let worker = bed
        .work_until_killed(move |worker| {
            worker.workflow::<Sleeper>().activity(Note::that(move |_, what| {
                dying.note(what);
                std::future::pending()
            }))
        })
        .await;
    let run = bed.client.start::<Sleeper>("agree".to_owned()).await.unwrap();
    run.cancel().reason("over").await.unwrap();
    noted.shows("cleaned up", 1).await;
    worker.kill().await;

    bed.work(equip(bed.worker(), &journal));
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    assert_eq!(error.reason(), Some("over"));
    assert_eq!(journal.lines(), ["cleaned up"]);
}

async fn cancellation_without_any_worker_waits_for_one(bed: Bed) {
    let journal = Journal::default();
    let run = bed.client.start::<Plain>(()).await.unwrap();
    run.cancel().await.unwrap();
    assert!(!run.status().await.unwrap().is_over());
    bed.work(equip(bed.worker(), &journal));
    assert!(run.result().await.unwrap_err().is_run_cancelled());
}

async fn terminated_run_executes_no_more_of_its_code(bed: Bed) {
    let journal = Journal::default();
    bed.work(equip(bed.worker(), &journal));
    let run = bed.client.start::<Sleeper>("agree".to_owned()).await.unwrap();
    eventually("it sleeps", async || (count(&run, "timer.started").await == 1).then_some(())).await;
    run.terminate("enough").await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_terminated());
    assert_eq!(run.status().await.unwrap(), RunStatus::Terminated);
    assert_eq!(journal.lines(), [""; 0]);
    assert_eq!(story(&run).await, ["run.started", "timer.started", "run.terminated"]);
}

async fn termination_before_any_worker_came_ends_the_run(bed: Bed) {
    // Even a run whose workflow nobody knows any more can be got rid of, once a worker knows it again.
    let run = bed.client.start::<Sleeper>("agree".to_owned()).await.unwrap();
    run.terminate("nobody wants it").await.unwrap();
    bed.work(equip(bed.worker(), &Journal::default()));
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_terminated(), "{error}");
}

async fn reasons_are_told_to_those_who_wait(bed: Bed) {
    bed.work(equip(bed.worker(), &Journal::default()));
    let cancelled = bed.client.start::<Plain>(()).await.unwrap();
    cancelled.cancel().reason("the customer left").await.unwrap();
    let error = cancelled.result().await.unwrap_err();
    assert_eq!(error.reason(), Some("the customer left"));
    assert!(error.to_string().contains("the customer left"), "{error}");

    let terminated = bed.client.start::<Plain>(()).await.unwrap();
    terminated.terminate("the law says so").await.unwrap();
    let error = terminated.result().await.unwrap_err();
    assert!(error.to_string().contains("terminated: the law says so"), "{error}");

    let long = "x".repeat(5000);
    let error = terminated.cancel().reason(long).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("5000 bytes"), "{error}");
}
