//! Starts: keys, and starts that wait.

use chrono::Utc;
use pgworkflows::client::RunStatus;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Bed, Journal, activity, count, eventually, promises, story, workflow};

promises![
    start_with_a_known_key_returns_the_existing_run,
    start_with_the_key_of_a_finished_run_returns_it_with_its_result,
    starts_with_one_key_from_many_clients_at_once_make_one_run,
    keys_are_per_workflow,
    different_input_under_a_known_key_is_an_error_that_names_everything,
    key_alone_or_a_digest_counts_where_the_caller_says_so,
    equal_input_under_a_known_key_is_recognised_whatever_the_order_of_its_maps,
    run_is_found_by_its_key,
    delayed_start_begins_no_earlier_than_it_may,
    delay_of_a_start_outlives_its_worker,
    cancellation_before_a_delayed_start_runs_no_code,
    run_exists_for_everybody_when_its_start_is_acknowledged,
];

activity!(Note, "note", String => ());

workflow!(Greet, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
    ctx.activity::<Note>(name.clone()).await?;
    Ok(format!("Hello, {name}."))
});

workflow!(Part, "part", |_ctx: Context, name: String| -> WorkflowResult<String> {
    Ok(format!("Goodbye, {name}."))
});

fn work(bed: &Bed) -> Journal {
    let journal = Journal::default();
    let worker = bed.worker().workflow::<Greet>().workflow::<Part>().workflow::<Count>();
    bed.work(worker.activity(Note::that(journal.noting())));
    journal
}

async fn start_with_a_known_key_returns_the_existing_run(bed: Bed) {
    let first = bed.client.start::<Greet>("Ada".to_owned()).key("greet:ada").await.unwrap();
    let again = bed.client.start::<Greet>("Ada".to_owned()).key("greet:ada").await.unwrap();
    assert_eq!(first.run_id(), again.run_id());
    assert!(!first.is_existing());
    assert!(again.is_existing());

    // It is begun once
    let journal = work(&bed);
    first.result().await.unwrap();
    again.result().await.unwrap();
    assert_eq!(journal.lines(), ["Ada"]);
    assert_eq!(bed.client.list().workflow("greet").await.unwrap().len(), 1);
}

async fn start_with_the_key_of_a_finished_run_returns_it_with_its_result(bed: Bed) {
    let journal = work(&bed);
    let first = bed.client.start::<Greet>("Ada".to_owned()).key("greet:ada").await.unwrap();
    first.result().await.unwrap();

    let again = bed.client.start::<Greet>("Ada".to_owned()).key("greet:ada").await.unwrap();
    assert!(again.is_existing());
    assert_eq!(again.result().await.unwrap(), "Hello, Ada.");
    assert_eq!(journal.lines(), ["Ada"]);
}

async fn starts_with_one_key_from_many_clients_at_once_make_one_run(bed: Bed) {
    let journal = work(&bed);
    let starts = (0..16).map(|_| async {
        let client = pgworkflows::Client::new(bed.store());
        client.start::<Greet>("Ada".to_owned()).key("greet:ada").await.unwrap()
    });
    let runs = futures::future::join_all(starts).await;
    assert_eq!(runs.iter().filter(|run| !run.is_existing()).count(), 1);
    for run in &runs {
        assert_eq!(run.run_id(), runs[0].run_id());
        assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
    }
    assert_eq!(journal.lines(), ["Ada"]);
}

async fn keys_are_per_workflow(bed: Bed) {
    work(&bed);
    let hello = bed.client.start::<Greet>("Ada".to_owned()).key("ada").await.unwrap();
    let goodbye = bed.client.start::<Part>("Ada".to_owned()).key("ada").await.unwrap();
    assert_ne!(hello.run_id(), goodbye.run_id());
    assert_eq!(hello.result().await.unwrap(), "Hello, Ada.");
    assert_eq!(goodbye.result().await.unwrap(), "Goodbye, Ada.");
}

async fn different_input_under_a_known_key_is_an_error_that_names_everything(bed: Bed) {
    let first = bed.client.start::<Greet>("Ada".to_owned()).key("greet:someone").await.unwrap();
    let error = bed.client.start::<Greet>("Grace".to_owned()).key("greet:someone").await.unwrap_err();
    assert!(error.is_key_conflict(), "{error}");
    assert_eq!(error.run(), Some(first.run_id()));
    for part in [&*first.run_id().to_string(), "`greet`", "`greet:someone`", "use another key"] {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }

    // The same is said when that run is over.
    work(&bed);
    assert_eq!(first.result().await.unwrap(), "Hello, Ada.");
    let error = bed.client.start::<Greet>("Grace".to_owned()).key("greet:someone").await.unwrap_err();
    assert!(error.is_key_conflict(), "{error}");
    // And, now that the other input is in the log, where they differ.
    assert!(error.to_string().contains("which differs in the whole input"), "{error}");
}

async fn key_alone_or_a_digest_counts_where_the_caller_says_so(bed: Bed) {
    let start = |name: &str| bed.client.start::<Greet>(name.to_owned());
    let first = start("Ada").key_only("greet:first").await.unwrap();
    let again = start("Grace").key_only("greet:first").await.unwrap();
    assert_eq!((again.run_id(), again.is_existing()), (first.run_id(), true));

    let first = start("Ada").key_with_digest("greet:second", [1; 32]).await.unwrap();
    let again = start("Grace").key_with_digest("greet:second", [1; 32]).await.unwrap();
    assert_eq!(again.run_id(), first.run_id());
    let error = start("Ada").key_with_digest("greet:second", [2; 32]).await.unwrap_err();
    assert!(error.is_key_conflict() && error.to_string().contains("another digest"), "{error}");
}

workflow!(Count, "count", |_ctx: Context,
                           items: std::collections::HashMap<String, u32>|
 -> WorkflowResult<u32> { Ok(items.values().sum()) });

async fn equal_input_under_a_known_key_is_recognised_whatever_the_order_of_its_maps(bed: Bed) {
    let items = || (0..50).map(|number| (number.to_string(), number)).collect();
    for _ in 0..5 {
        // Each map has an order of its own.
        bed.client.start::<Count>(items()).key("stock").await.unwrap();
    }
}

async fn run_is_found_by_its_key(bed: Bed) {
    work(&bed);
    assert!(bed.client.find::<Greet>("ada").await.unwrap().is_none());
    let run = bed.client.start::<Greet>("Ada".to_owned()).key("ada").await.unwrap();
    let found = bed.client.find::<Greet>("ada").await.unwrap().unwrap();
    assert_eq!(found.run_id(), run.run_id());
    assert!(bed.client.find::<Part>("ada").await.unwrap().is_none());
    run.result().await.unwrap();
    let found = bed.client.find::<Greet>("ada").await.unwrap().unwrap();
    assert_eq!(found.result().await.unwrap(), "Hello, Ada.");
}

async fn delayed_start_begins_no_earlier_than_it_may(bed: Bed) {
    let journal = work(&bed);
    let run = bed.client.start::<Greet>("Ada".to_owned()).delay(Duration::from_millis(400)).await.unwrap();
    let wake_at = eventually("it waits", async || run.describe().await.unwrap().wake_at).await;
    let info = run.describe().await.unwrap();
    if Utc::now() < wake_at {
        assert_eq!(info.status, RunStatus::Waiting);
        assert_eq!(journal.lines(), [""; 0]);
    }

    run.result().await.unwrap();
    let history = run.history().await.unwrap();
    let Event::RunStarted { start_at: Some(start_at), .. } = &history[0].event else {
        panic!("{:?}", history[0]);
    };
    assert_eq!(wake_at, (*start_at).into());
    assert!(matches!(history[1].event, Event::TimerFired { .. }), "{:?}", history[1]);
    assert!(history[1].at >= wake_at, "{:?}", history[1]);
    assert!(history[1].at - info.created_at >= chrono::TimeDelta::milliseconds(399));
}

async fn delay_of_a_start_outlives_its_worker(bed: Bed) {
    let journal = Journal::default();
    let worker = bed.work(bed.worker().workflow::<Greet>().activity(Note::that(journal.noting())));
    let run = bed.client.start::<Greet>("Ada".to_owned()).delay(Duration::from_secs(2)).await.unwrap();
    eventually("it is logged", async || (count(&run, "run.started").await == 1).then_some(())).await;
    worker.stop().await;
    let journal = work(&bed);
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["Ada"]);
    assert_eq!(story(&run).await[..3], ["run.started", "run.adopted", "timer.fired"]);
}

async fn cancellation_before_a_delayed_start_runs_no_code(bed: Bed) {
    let journal = work(&bed);
    let run = bed.client.start::<Greet>("Ada".to_owned()).delay(Duration::from_secs(3600)).await.unwrap();
    run.cancel().reason("never mind").await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    assert_eq!(error.reason(), Some("never mind"));
    assert_eq!(story(&run).await, ["run.started", "cancel.requested", "run.cancelled"]);
    assert_eq!(journal.lines(), [""; 0]);
}

async fn run_exists_for_everybody_when_its_start_is_acknowledged(bed: Bed) {
    // No worker has seen it, and another client asks.
    let run = bed.client.start::<Greet>("Ada".to_owned()).key("ada").await.unwrap();
    let other = pgworkflows::Client::new(bed.store());
    let info = other.describe(run.run_id()).await.unwrap();
    assert_eq!(
        (&*info.workflow, info.key.as_deref(), info.status),
        ("greet", Some("ada"), RunStatus::Pending)
    );
    assert_eq!(other.list().status(RunStatus::Pending).await.unwrap().len(), 1);
    assert_eq!(other.history(run.run_id()).await.unwrap(), []);
}
