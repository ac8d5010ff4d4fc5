//! Starts: idempotency keys and delays.

use chrono::Utc;
use pgworkflows::client::RunStatus;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows_tests::{
    Env, Journal, activity, assert_contains, eventually, history_text, logged, promises, workflow,
};

promises![
    start_with_a_known_key_returns_the_existing_run,
    start_with_the_key_of_a_finished_run_returns_it_with_its_result,
    starts_with_one_key_from_many_clients_at_once_make_one_run,
    keys_are_per_workflow,
    different_input_under_a_known_key_is_an_error_that_names_the_run,
    key_only_ignores_the_input_and_key_with_digest_compares_a_digest,
    equal_input_under_a_known_key_is_recognised_whatever_the_order_of_its_maps,
    run_is_found_by_its_key,
    delayed_start_does_not_begin_early,
    delay_of_a_start_survives_its_worker,
    cancellation_before_a_delayed_start_runs_no_code,
    acknowledged_start_is_visible_to_every_client,
];

activity!(Note, "note", String => ());

workflow!(Greet, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
    ctx.activity::<Note>(name.clone()).await?;
    Ok(format!("Hello, {name}."))
});

workflow!(Part, "part", |_ctx: Context, name: String| -> WorkflowResult<String> {
    Ok(format!("Goodbye, {name}."))
});

fn run_worker(env: &Env) -> Journal {
    let journal = Journal::default();
    let worker = env.worker().workflow::<Greet>().workflow::<Part>().workflow::<Count>();
    env.run(worker.activity(Note(journal.noting())));
    journal
}

async fn start_with_a_known_key_returns_the_existing_run(env: Env) {
    let first = env.client.start::<Greet>("Ada".to_owned()).key("greet:ada").await.unwrap();
    let again = env.client.start::<Greet>("Ada".to_owned()).key("greet:ada").await.unwrap();
    assert_eq!(first.run_id(), again.run_id());
    assert!(!first.is_existing());
    assert!(again.is_existing());

    // It is started once.
    let journal = run_worker(&env);
    first.result().await.unwrap();
    again.result().await.unwrap();
    assert_eq!(journal.lines(), ["Ada"]);
    assert_eq!(env.client.list().workflow("greet").await.unwrap().len(), 1);
}

async fn start_with_the_key_of_a_finished_run_returns_it_with_its_result(env: Env) {
    let journal = run_worker(&env);
    let first = env.client.start::<Greet>("Ada".to_owned()).key("greet:ada").await.unwrap();
    first.result().await.unwrap();

    let again = env.client.start::<Greet>("Ada".to_owned()).key("greet:ada").await.unwrap();
    assert!(again.is_existing());
    assert_eq!(again.result().await.unwrap(), "Hello, Ada.");
    assert_eq!(journal.lines(), ["Ada"]);
}

async fn starts_with_one_key_from_many_clients_at_once_make_one_run(env: Env) {
    let journal = run_worker(&env);
    let starts = (0..16).map(|_| async {
        let client = env.another_client();
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

async fn keys_are_per_workflow(env: Env) {
    run_worker(&env);
    let hello = env.client.start::<Greet>("Ada".to_owned()).key("ada").await.unwrap();
    let goodbye = env.client.start::<Part>("Ada".to_owned()).key("ada").await.unwrap();
    assert_ne!(hello.run_id(), goodbye.run_id());
    assert_eq!(hello.result().await.unwrap(), "Hello, Ada.");
    assert_eq!(goodbye.result().await.unwrap(), "Goodbye, Ada.");
}

async fn different_input_under_a_known_key_is_an_error_that_names_the_run(env: Env) {
    let first = env.client.start::<Greet>("Ada".to_owned()).key("greet:someone").await.unwrap();
    let error = env.client.start::<Greet>("Grace".to_owned()).key("greet:someone").await.unwrap_err();
    assert!(error.is_key_conflict(), "{error}");
    assert_eq!(error.run(), Some(first.run_id()));
    assert_contains(&error, &[&*first.run_id().to_string(), "`greet`", "`greet:someone`", "use another key"]);

    // The error is the same after the end of that run.
    run_worker(&env);
    assert_eq!(first.result().await.unwrap(), "Hello, Ada.");
    let error = env.client.start::<Greet>("Grace".to_owned()).key("greet:someone").await.unwrap_err();
    assert!(error.is_key_conflict(), "{error}");
    // The input is in the log by now, so the error says where they differ.
    assert!(error.to_string().contains("which differs in the whole input"), "{error}");
}

async fn key_only_ignores_the_input_and_key_with_digest_compares_a_digest(env: Env) {
    let start = |name: &str| env.client.start::<Greet>(name.to_owned());
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

async fn equal_input_under_a_known_key_is_recognised_whatever_the_order_of_its_maps(env: Env) {
    let items = || (0..50).map(|number| (number.to_string(), number)).collect();
    for _ in 0..5 {
        // Each hash map has another order.
        env.client.start::<Count>(items()).key("stock").await.unwrap();
    }
}

async fn run_is_found_by_its_key(env: Env) {
    run_worker(&env);
    assert!(env.client.find::<Greet>("ada").await.unwrap().is_none());
    let run = env.client.start::<Greet>("Ada".to_owned()).key("ada").await.unwrap();
    let found = env.client.find::<Greet>("ada").await.unwrap().unwrap();
    assert_eq!(found.run_id(), run.run_id());
    assert!(env.client.find::<Part>("ada").await.unwrap().is_none());
    run.result().await.unwrap();
    let found = env.client.find::<Greet>("ada").await.unwrap().unwrap();
    assert_eq!(found.result().await.unwrap(), "Hello, Ada.");
}

async fn delayed_start_does_not_begin_early(env: Env) {
    let journal = run_worker(&env);
    let run = env.client.start::<Greet>("Ada".to_owned()).delay(Duration::from_millis(400)).await.unwrap();
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

async fn delay_of_a_start_survives_its_worker(env: Env) {
    let journal = Journal::default();
    let worker = env.run(env.worker().workflow::<Greet>().activity(Note(journal.noting())));
    let run = env.client.start::<Greet>("Ada".to_owned()).delay(Duration::from_secs(2)).await.unwrap();
    logged(&run, "run.started", 1).await;
    worker.stop().await;
    let journal = run_worker(&env);
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["Ada"]);
    assert_eq!(history_text(&run).await[..3], ["run.started", "run.adopted", "timer.fired"]);
}

async fn cancellation_before_a_delayed_start_runs_no_code(env: Env) {
    let journal = run_worker(&env);
    let run = env.client.start::<Greet>("Ada".to_owned()).delay(Duration::from_secs(3600)).await.unwrap();
    run.cancel().reason("never mind").await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    assert_eq!(error.reason(), Some("never mind"));
    assert_eq!(history_text(&run).await, ["run.started", "cancel.requested", "run.cancelled"]);
    assert_eq!(journal.lines(), [""; 0]);
}

async fn acknowledged_start_is_visible_to_every_client(env: Env) {
    // No worker has seen it.
    let run = env.client.start::<Greet>("Ada".to_owned()).key("ada").await.unwrap();
    let other = pgworkflows::Client::new(env.store());
    let info = other.describe(run.run_id()).await.unwrap();
    assert_eq!(
        (&*info.workflow, info.key.as_deref(), info.status),
        ("greet", Some("ada"), RunStatus::Pending)
    );
    assert_eq!(other.list().status(RunStatus::Pending).await.unwrap().len(), 1);
    assert_eq!(other.history(run.run_id()).await.unwrap(), []);
}
