//! What people do to runs: start, signal, cancel, terminate, pause, resume, retry.

use std::time::Duration;

use pgworkflows::client::RunStatus;
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn run_is_started_signalled_and_waited_for() {
    let world = World::new().await;
    let worker = world.work();
    let input = r#"{"item": 3}"#;
    let started = world.json(&["runs", "start", "order", input, "--key", "o-3"]).await;
    assert_eq!(started["existing"], false);
    let again = world.json(&["runs", "start", "order", input, "--key", "o-3"]).await;
    assert_eq!(again, json!({"run_id": started["run_id"], "existing": true}));
    let sent = ["runs", "signal", "--workflow", "order", "--key", "o-3", "approve", "true"];
    assert_eq!(world.json(&sent).await["signal"], "approve");

    let waited = ["runs", "start", "order", input, "--key", "o-3", "--wait", "--timeout", "60"];
    assert_eq!(world.json(&waited).await["result"], "item 3 is sold");
    assert_eq!(world.run(&waited).await.out, "\"item 3 is sold\"\n");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_is_paused_resumed_and_cancelled() {
    let world = World::new().await;
    let worker = world.work();
    let run = world.client.start::<order>(Order { item: 1 }).await.unwrap();
    let id = run.run_id().to_string();
    assert_eq!(world.run(&["runs", "pause", &id, "--reason", "stocktaking"]).await.code, 0);
    let why = world.until(&["runs", "why", &id], |ran| ran.out.contains("is paused")).await;
    assert!(why.out.contains("a client paused it: stocktaking"), "{why:?}");
    assert_eq!(world.run(&["runs", "resume", &id]).await.out, format!("run {id}: to be resumed\n"));
    world.until(&["runs", "show", &id], |ran| ran.out.contains("waiting")).await;
    assert_eq!(world.run(&["runs", "cancel", &id, "--reason", "sold out"]).await.code, 0);
    let over = run.result().timeout(Duration::from_secs(60)).await.unwrap_err();
    assert_eq!(over.reason(), Some("sold out"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempt_in_back_off_is_tried_now_and_its_run_is_terminated() {
    let world = World::new().await;
    let worker = world.work();
    let run = world.client.start::<bill>(9).await.unwrap();
    let id = run.run_id().to_string();
    world.until(&["runs", "why", &id], |ran| ran.out.contains("attempt 2 ")).await;
    assert_eq!(world.run(&["runs", "retry", &id]).await.code, 0);
    world.until(&["runs", "why", &id], |ran| ran.out.contains("attempt 3 ")).await;
    assert_eq!(world.run(&["runs", "terminate", &id, "--reason", "a debtor"]).await.code, 0);
    let over = run.result().timeout(Duration::from_secs(60)).await.unwrap_err();
    assert!(over.is_run_terminated(), "{over}");
    assert_eq!(run.status().await.unwrap(), RunStatus::Terminated);
    worker.stop().await;
}
