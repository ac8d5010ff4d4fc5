//! Code that changed: a run whose history its code cannot follow stalls, says why, and goes on under code that can.

use pgworkflows::RunHandle;
use pgworkflows::client::RunStatus;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Bed, Journal, activity, count, eventually, promises, story, workflow};

promises![
    reordered_code_stalls_with_a_diagnosis,
    code_that_matches_again_goes_on_with_the_run,
    signal_that_came_while_a_run_was_stalled_is_consumed_in_its_order_and_with_its_time,
    stalled_run_leaves_the_others_of_its_shard_alone,
    step_that_is_gone_from_the_code_stalls_with_its_name,
    run_that_is_stalled_can_be_terminated,
    outcome_that_changed_in_kind_is_a_divergence,
];

activity!(Pack, "pack", String => ());
activity!(Ship, "ship", String => ());

const GO: Signal<String> = Signal::new("go");

/// Old and new code under one stored name.
mod old {
    use super::*;

    workflow!(Order, "order", |ctx: Context, item: String| -> WorkflowResult<Vec<String>> {
        ctx.activity::<Pack>(item.clone()).await?;
        let first = ctx.wait_for(GO).await?;
        let second = format!("{} at {}", ctx.wait_for(GO).await?, ctx.now());
        ctx.activity::<Ship>(item).await?;
        Ok(vec![first, second])
    });

    pub(super) type Run = RunHandle<Order>;
    pub(super) fn register(worker: pgworkflows::worker::WorkerBuilder) -> pgworkflows::worker::WorkerBuilder {
        worker.workflow::<Order>()
    }
    pub(super) async fn start(bed: &Bed) -> Run {
        bed.client.start::<Order>("book".to_owned()).await.unwrap()
    }
}

mod reordered {
    use super::*;

    workflow!(Order, "order", |ctx: Context, item: String| -> WorkflowResult<Vec<String>> {
        ctx.activity::<Ship>(item.clone()).await?;
        ctx.activity::<Pack>(item).await?;
        Ok(Vec::new())
    });

    pub(super) fn register(worker: pgworkflows::worker::WorkerBuilder) -> pgworkflows::worker::WorkerBuilder {
        worker.workflow::<Order>()
    }
}

fn equip(
    worker: pgworkflows::worker::WorkerBuilder,
    journal: &Journal,
) -> pgworkflows::worker::WorkerBuilder {
    worker.activity(Pack::that(journal.noting())).activity(Ship::that(journal.noting()))
}

/// A run that packed and waits, and whose worker was shut down for a deploy.
async fn run_of_old_code(bed: &Bed, journal: &Journal) -> old::Run {
    let worker = bed.work(equip(old::register(bed.worker()), journal));
    let run = old::start(bed).await;
    eventually("it is packed", async || (count(&run, "activity.completed").await == 1).then_some(())).await;
    worker.stop().await;
    run
}

async fn is_stalled(run: &old::Run) -> String {
    eventually("the run is stalled", async || {
        let info = run.describe().await.unwrap();
        (info.status == RunStatus::Stalled).then(|| info.waiting_on.unwrap())
    })
    .await
}

async fn reordered_code_stalls_with_a_diagnosis(bed: Bed) {
    let journal = Journal::default();
    let run = run_of_old_code(&bed, &journal).await;

    // When code is deployed that ships first, and something comes for the run
    bed.work(equip(reordered::register(bed.worker()), &journal));
    run.signal(GO, "go".to_owned()).await.unwrap();

    // Then nothing is done, and the diagnosis says all there is to say
    let diagnosis = is_stalled(&run).await;
    for part in [
        &*run.run_id().to_string(),
        "workflow `order`",
        "event 2 of the log is activity.scheduled `pack`",
        "schedules activity `ship`",
        "replay.rs:",
        "Deploy the code that wrote this history",
    ] {
        assert!(diagnosis.contains(part), "{part:?} is not in {diagnosis:?}");
    }
    assert_eq!(journal.lines(), ["book"]);
}

async fn code_that_matches_again_goes_on_with_the_run(bed: Bed) {
    // Given a run that stalled under the wrong code
    let journal = Journal::default();
    let run = run_of_old_code(&bed, &journal).await;
    let wrong = bed.work(equip(reordered::register(bed.worker()), &journal));
    run.signal(GO, "go".to_owned()).await.unwrap();
    is_stalled(&run).await;
    wrong.stop().await;

    // When the right code is back
    bed.work(equip(old::register(bed.worker()), &journal));
    run.signal(GO, "on".to_owned()).await.unwrap();

    // Then the run goes on as if nothing had happened
    assert_eq!(run.result().await.unwrap()[0], "go");
    assert_eq!(journal.lines(), ["book", "book"]);
    let history = story(&run).await;
    let stall = history.iter().position(|event| event == "run.stalled").unwrap();
    assert_eq!(history[stall - 1..][..3], ["run.adopted", "run.stalled", "signal.received go"]);
    assert_eq!(history[stall + 2..][..2], ["run.adopted", "run.resumed"]);
    assert_eq!(count(&run, "run.stalled").await, 1);
}

async fn signal_that_came_while_a_run_was_stalled_is_consumed_in_its_order_and_with_its_time(bed: Bed) {
    // Given a stalled run to which two signals came
    let journal = Journal::default();
    let run = run_of_old_code(&bed, &journal).await;
    let wrong = bed.work(equip(reordered::register(bed.worker()), &journal));
    for word in ["one", "two"] {
        run.signal(GO, word.to_owned()).await.unwrap();
    }
    eventually("both are in the log", async || (count(&run, "signal.received").await == 2).then_some(()))
        .await;
    wrong.stop().await;

    // When the right code is deployed
    bed.work(equip(old::register(bed.worker()), &journal));
    let heard = run.result().await.unwrap();

    // Then it sees them in their order, and the time of the second is that at which it came
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

async fn stalled_run_leaves_the_others_of_its_shard_alone(bed: Bed) {
    workflow!(Echo, "echo", |ctx: Context, word: String| -> WorkflowResult<String> {
        ctx.sleep(Duration::from_millis(5)).await?;
        Ok(word)
    });

    let journal = Journal::default();
    let run = run_of_old_code(&bed, &journal).await;
    bed.work(equip(reordered::register(bed.worker()), &journal).workflow::<Echo>());
    run.signal(GO, "go".to_owned()).await.unwrap();
    is_stalled(&run).await;

    // Every shard is met some times over.
    let mut others = Vec::new();
    for number in 0..40 {
        others.push(bed.client.start::<Echo>(number.to_string()).await.unwrap());
    }
    assert!(others.iter().any(|other| other.run_id().shard() == run.run_id().shard()));
    for (number, other) in others.iter().enumerate() {
        assert_eq!(other.result().await.unwrap(), number.to_string());
    }
}

async fn step_that_is_gone_from_the_code_stalls_with_its_name(bed: Bed) {
    mod with_step {
        use super::*;

        workflow!(Rate, "rate", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
            let rate: u32 = ctx.step("exchange-rate", || async { Ok(108) }).await?;
            ctx.wait_for(GO).await?;
            Ok(rate)
        });
        pub(super) fn register(
            worker: pgworkflows::worker::WorkerBuilder,
        ) -> pgworkflows::worker::WorkerBuilder {
            worker.workflow::<Rate>()
        }
        pub(super) async fn start(bed: &Bed) -> pgworkflows::RunId {
            bed.client.start::<Rate>(()).await.unwrap().run_id()
        }
    }
    workflow!(Rate, "rate", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        ctx.wait_for(GO).await?;
        Ok(0)
    });

    let worker = bed.work(with_step::register(bed.worker()));
    let run = bed.client.handle::<Rate>(with_step::start(&bed).await);
    eventually("the step is recorded", async || (count(&run, "step.completed").await == 1).then_some(()))
        .await;
    worker.stop().await;

    bed.work(bed.worker().workflow::<Rate>());
    run.signal(GO, "go".to_owned()).await.unwrap();
    let diagnosis = eventually("it stalls", async || {
        let info = run.describe().await.unwrap();
        (info.status == RunStatus::Stalled).then(|| info.waiting_on.unwrap())
    })
    .await;
    assert!(diagnosis.contains("step `exchange-rate` (call 1)"), "{diagnosis}");
    assert!(diagnosis.contains("signal `go` at"), "{diagnosis}");
}

async fn run_that_is_stalled_can_be_terminated(bed: Bed) {
    let journal = Journal::default();
    let run = run_of_old_code(&bed, &journal).await;
    bed.work(equip(reordered::register(bed.worker()), &journal));
    run.signal(GO, "go".to_owned()).await.unwrap();
    is_stalled(&run).await;

    run.terminate("nobody wants it any more").await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_terminated(), "{error}");
    assert_eq!(error.reason(), Some("nobody wants it any more"));
}

async fn outcome_that_changed_in_kind_is_a_divergence(bed: Bed) {
    // New code returns where the old one went on: the log goes on behind that.
    workflow!(Hasty, "order", |ctx: Context, item: String| -> WorkflowResult<Vec<String>> {
        ctx.activity::<Pack>(item).await?;
        Ok(Vec::new())
    });

    let journal = Journal::default();
    let run = run_of_old_code(&bed, &journal).await;
    bed.work(equip(bed.worker().workflow::<Hasty>(), &journal));
    run.signal(GO, "go".to_owned()).await.unwrap();
    let diagnosis = is_stalled(&run).await;
    assert!(diagnosis.contains("returns a value"), "{diagnosis}");
}
