//! Compensations: what was done is undone, newest first, whatever else goes wrong.

use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{Bed, Gate, Journal, activity, count, eventually, promises, story, workflow};

promises![
    compensations_run_in_reverse_order_after_the_failure,
    completed_run_compensates_nothing,
    compensations_run_after_a_cancellation_too,
    failing_compensation_is_recorded_beside_the_error_and_stops_no_other,
    compensations_are_retried_by_their_own_policy,
    compensation_that_is_recorded_is_not_repeated_after_a_crash,
    termination_names_the_compensations_that_it_leaves_out,
    termination_amid_compensations_names_those_that_are_left,
    cancellation_amid_compensations_is_ignored,
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
    worker.activity(Charge::that(journal.noting())).activity(Restock::that(journal.noting()))
}

fn refuse(error: ActivityError) -> Refund {
    let failure = error.into_failure();
    Refund::that(move |_, _| {
        let error = ActivityError::new(failure.type_name.clone(), failure.message.clone());
        async { Err(error) }
    })
}

async fn compensations_run_in_reverse_order_after_the_failure(bed: Bed) {
    let journal = Journal::default();
    bed.work(equip(bed.worker(), &journal, Refund::that(journal.noting())));
    let run = bed.client.start::<Order>("fail".to_owned()).await.unwrap();

    let error = run.result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().type_name, "out-of-stock");
    assert_eq!(error.uncompensated(), []);
    assert_eq!(journal.lines(), ["reserved", "charged", "refunded", "restocked"]);
    assert_eq!(
        story(&run).await,
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

async fn completed_run_compensates_nothing(bed: Bed) {
    let journal = Journal::default();
    bed.work(equip(bed.worker(), &journal, Refund::that(journal.noting())));
    let run = bed.client.start::<Order>("well".to_owned()).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["reserved", "charged"]);
    assert_eq!(count(&run, "compensation.scheduled").await, 0);
}

async fn compensations_run_after_a_cancellation_too(bed: Bed) {
    let journal = Journal::default();
    bed.work(equip(bed.worker(), &journal, Refund::that(journal.noting())));
    let run = bed.client.start::<Order>("wait".to_owned()).await.unwrap();
    journal.shows("charged", 1).await;
    run.cancel().await.unwrap();

    let error = run.result().await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    assert!(journal.lines().ends_with(&["restocked".to_owned()]), "{:?}", journal.lines());
}

async fn failing_compensation_is_recorded_beside_the_error_and_stops_no_other(bed: Bed) {
    let journal = Journal::default();
    bed.work(equip(bed.worker(), &journal, refuse(ActivityError::new("bank-closed", "come back on Monday"))));
    let run = bed.client.start::<Order>("fail".to_owned()).await.unwrap();

    let error = run.result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().type_name, "out-of-stock");
    let [uncompensated] = error.uncompensated() else { panic!("{:?}", error.uncompensated()) };
    assert_eq!(uncompensated.activity, "refund");
    assert_eq!(uncompensated.failure.type_name, "bank-closed");
    for part in ["there is none left", "`refund`", "come back on Monday"] {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
    assert_eq!(journal.lines(), ["reserved", "charged", "restocked"]);
}

async fn compensations_are_retried_by_their_own_policy(bed: Bed) {
    // Given a refund that succeeds at its third attempt, its last
    let journal = Journal::default();
    let noted = journal.clone();
    let refund = Refund::that(move |ctx, what| {
        noted.note(format!("{what}? {}", ctx.attempt()));
        async move { if ctx.attempt() < 3 { Err(ActivityError::new("busy", "try again")) } else { Ok(()) } }
    });
    bed.work(equip(bed.worker(), &journal, refund));
    let run = bed.client.start::<Order>("fail".to_owned()).await.unwrap();

    assert_eq!(run.result().await.unwrap_err().uncompensated(), []);
    assert_eq!(journal.lines()[2..], ["refunded? 1", "refunded? 2", "refunded? 3", "restocked"]);
    assert_eq!(count(&run, "activity.attempt-failed").await, 2);
    assert_eq!(count(&run, "compensation.completed").await, 2);
}

async fn compensation_that_is_recorded_is_not_repeated_after_a_crash(bed: Bed) {
    // Given a worker that dies between two compensations
    let (journal, gate) = (Journal::default(), Gate::shut());
    let equip = |worker: WorkerBuilder, journal: &Journal, gate: &Gate| {
        let (journal, gate) = (journal.clone(), gate.clone());
        let worker = worker.workflow::<Order>().activity(Refund::that(journal.noting()));
        let worker = worker.activity(Charge::that(journal.noting()));
        worker.activity(Restock::that(move |_, what| {
            let (journal, gate) = (journal.clone(), gate.clone());
            async move {
                journal.note(what);
                gate.pass().await;
                Ok(())
            }
        }))
    };
    let worker = {
        let (journal, gate) = (journal.clone(), gate.clone());
        bed.work_until_killed(move |worker| equip(worker, &journal, &gate)).await
    };
    let run = bed.client.start::<Order>("fail".to_owned()).await.unwrap();
    journal.shows("restocked", 1).await;
    worker.kill().await;

    // When another takes over
    gate.open();
    bed.work(equip(bed.worker(), &journal, &gate));
    assert!(run.result().await.unwrap_err().is_run_failed());
    assert_eq!(journal.lines(), ["reserved", "charged", "refunded", "restocked", "restocked"]);
    assert_eq!(count(&run, "compensation.completed").await, 2);
}

async fn termination_names_the_compensations_that_it_leaves_out(bed: Bed) {
    let journal = Journal::default();
    bed.work(equip(bed.worker(), &journal, Refund::that(journal.noting())));
    let run = bed.client.start::<Order>("wait".to_owned()).await.unwrap();
    eventually("all is registered", async || {
        (count(&run, "compensation.registered").await == 2).then_some(())
    })
    .await;
    run.terminate("fraud").await.unwrap();

    let error = run.result().await.unwrap_err();
    assert!(error.is_run_terminated(), "{error}");
    assert_eq!(error.reason(), Some("fraud"));
    assert_eq!(error.skipped_compensations(), ["refund", "restock"]);
    assert_eq!(journal.lines(), ["reserved", "charged"]);
    assert_eq!(story(&run).await.last().unwrap(), "run.terminated");
}

/// A refund that begins and never ends.
async fn run_amid_its_compensations(
    bed: &Bed,
    journal: &Journal,
    gate: &Gate,
) -> pgworkflows::RunHandle<Order> {
    let (noted, gate) = (journal.clone(), gate.clone());
    let refund = Refund::that(move |_, _| {
        let (noted, gate) = (noted.clone(), gate.clone());
        async move {
            noted.note("refunding");
            gate.pass().await;
            Ok(())
        }
    });
    bed.work(equip(bed.worker(), journal, refund));
    let run = bed.client.start::<Order>("fail".to_owned()).await.unwrap();
    journal.shows("refunding", 1).await;
    run
}

async fn termination_amid_compensations_names_those_that_are_left(bed: Bed) {
    let (journal, gate) = (Journal::default(), Gate::shut());
    let run = run_amid_its_compensations(&bed, &journal, &gate).await;
    run.terminate("enough").await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_terminated(), "{error}");
    assert_eq!(error.skipped_compensations(), ["refund", "restock"]);
    gate.open();
}

async fn cancellation_amid_compensations_is_ignored(bed: Bed) {
    let (journal, gate) = (Journal::default(), Gate::shut());
    let run = run_amid_its_compensations(&bed, &journal, &gate).await;
    run.cancel().await.unwrap();
    gate.open();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_failed(), "{error}");
    assert_eq!(error.uncompensated(), []);
    let history = run.history().await.unwrap();
    assert!(!history.iter().any(|event| matches!(event.event, Event::CancelRequested { .. })));
}
