//! `doctor` over the whole: the checks of a PostgreSQL have their tests beside the store.

use pgworkflows::client::Untyped;

use crate::support::*;

/// The verdict of a check, and what it found.
fn finding(answer: &serde_json::Value, check: &str) -> (String, String) {
    let findings = answer["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["check"] == check);
    let found = found.unwrap_or_else(|| panic!("{check} is not in {answer}"));
    (found["verdict"].as_str().unwrap().to_owned(), found["found"].as_str().unwrap().to_owned())
}

async fn examine(world: &World, arguments: &[&str]) -> (i32, serde_json::Value) {
    let ran = world.run(&[&["doctor", "--json"], arguments].concat()).await;
    (ran.code, serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_database_has_nothing_wrong() {
    let world = World::new().await;
    let worker = world.work();
    world.until(&["workers"], |ran| ran.out.contains("clerk")).await;
    let (code, answer) = examine(&world, &[]).await;
    assert_eq!(code, 0, "{answer}");
    for check in [
        "connection",
        "server",
        "clock",
        "settings",
        "pooler",
        "schema",
        "partitions",
        "leases",
        "rights",
        "transactions",
        "notifications",
        "connections",
        "stalled-runs",
        "workflows",
        "tasks",
    ] {
        assert_eq!(finding(&answer, check).0, "ok", "{check}: {answer}");
    }
    // The test's server need not survive a crash.
    assert_eq!(finding(&answer, "durability").0, "warning", "{answer}");
    assert_eq!(examine(&world, &["--strict"]).await.0, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_runs_and_workflows_that_nobody_knows_are_wrong() {
    // Given a run whose input its workflow cannot read, and a worker that goes
    let world = World::new().await;
    let worker = world.work();
    world.until(&["workers"], |ran| ran.out.contains("clerk")).await;
    let run = world.client.start_named("order", serde_json::json!({"item": "x"})).await.unwrap();
    world.until(&["runs", "list", "--status", "stalled"], |ran| ran.out.contains("stalled")).await;
    let (code, answer) = examine(&world, &[]).await;
    let (verdict, found) = finding(&answer, "stalled-runs");
    assert_eq!((code, verdict.as_str()), (1, "wrong"), "{answer}");
    assert!(found.contains("1 run is stalled") && found.contains(&run.run_id().to_string()), "{found}");
    worker.stop().await;

    // Then its workflow is known to no live worker
    let (code, answer) = examine(&world, &[]).await;
    let (verdict, found) = finding(&answer, "workflows");
    assert_eq!((code, verdict.as_str()), (1, "wrong"), "{answer}");
    assert!(found.contains("queue `default` has open runs of `order`, and no live worker"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_missed_while_they_have_open_runs_and_not_after_the_last_has_ended() {
    // Given a run that no worker has begun: its queue has no live worker
    let world = World::new().await;
    let run = world.client.start_named("order", serde_json::json!({"item": 7})).await.unwrap();
    let (code, answer) = examine(&world, &[]).await;
    let (verdict, found) = finding(&answer, "workflows");
    assert_eq!((code, verdict.as_str()), (1, "wrong"), "{answer}");
    assert_eq!(found, "queue `default` has open runs of `order`, and no live worker");
    let queues = world.run(&["queues"]).await.out;
    assert!(queues.contains(&found), "{queues}");
    assert_eq!(world.json(&["queues"]).await["problems"], serde_json::json!([found]));

    // And one of a workflow that the live worker does not know
    let worker = world.work();
    world.until(&["runs", "show", &run.run_id().to_string()], |ran| ran.out.contains("approve")).await;
    world.client.start_named("unknown", serde_json::Value::Null).await.unwrap();
    world
        .until(&["queues"], |ran| {
            ran.out.contains("has open runs of `unknown`, which its live worker does not know")
        })
        .await;

    // When all have ended, and the worker stops at once, then nothing is wrong
    run.terminate("a test").await.unwrap();
    for unknown in world.client.list().workflow("unknown").await.unwrap() {
        world.client.handle::<Untyped>(unknown.run_id).terminate("a test").await.unwrap();
    }
    world.until(&["runs", "list", "--open"], |ran| ran.out.contains("no such run")).await;
    worker.stop().await;
    let (code, answer) = examine(&world, &[]).await;
    assert_eq!((code, finding(&answer, "workflows").0.as_str()), (0, "ok"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_does_not_answer_and_tables_that_are_missing_are_told() {
    let ran = run(Some("postgres://app:x@127.0.0.1:1/app"), &["doctor"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.out
            .starts_with("wrong    connection     the store is unavailable: database `app` at 127.0.0.1:1"),
        "{ran:?}"
    );
    let world = World::new().await;
    let (code, answer) = examine(&world, &["--schema", "flows"]).await;
    assert_eq!((code, finding(&answer, "schema").0.as_str()), (1, "wrong"), "{answer}");
    // Another store has the checks that any store has.
    let memory = run(Some("memory:"), &["doctor"]).await;
    assert!(memory.code == 0 && memory.out.contains("no run is stalled"), "{memory:?}");
}
