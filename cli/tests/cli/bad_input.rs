//! What people get wrong: each error names the thing, the value and what to do, and has its exit code.

use std::time::Duration;

use pgworkflows::PostgresStore;
use serde_json::Value;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn address_that_is_missing_or_unknown_is_refused() {
    run(None, &["runs", "list"])
        .await
        .refused(2, &["no address of a store", "PGWORKFLOWS_URL", "postgres://"]);
    let unknown = run(Some("mysql://app@db/app"), &["runs", "list"]).await;
    unknown.refused(2, &["`mysql://` is not the address of a known store", "postgres://user:password@host"]);
    run(Some("nonsense"), &["queues"]).await.refused(2, &["does not begin with the scheme"]);
    let away = run(Some("postgres://app@127.0.0.1:1/app"), &["runs", "list"]).await;
    away.refused(5, &["database `app` at 127.0.0.1:1 as user `app`", "whether the server runs"]);
    let no_file = run(Some("sqlite:/no/such/runs.db"), &["runs", "list"]).await;
    no_file.refused(3, &["there is no file `/no/such/runs.db`", "pgworkflows migrate"]);
    run(Some("sqlite:"), &["runs", "list"]).await.refused(2, &["it has no path", "`sqlite:runs.db`"]);
    run(Some("sqlite::memory:"), &["runs", "list"]).await.refused(2, &["a store in memory is at `memory:`"]);
    run(Some("memory:"), &["top"]).await.refused(2, &["draws on a terminal", "runs list --json"]);
    run(Some("memory:"), &["runs", "list", "--schema", "No Schema"])
        .await
        .refused(2, &["`No Schema` cannot be"]);
    run(Some("memory:"), &["runs", "list", "--limit", "0"]).await.refused(2, &["0 is not in 1..=1000"]);
    run(Some("memory:"), &["runs", "lits"]).await.refused(2, &["'lits'", "list"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistake_is_told_without_options_that_were_not_given() {
    let variables = [("DATABASE_URL", "memory:"), ("PGWORKFLOWS_SCHEMA", "flows")];
    let ran = run_in(Some("memory:"), &variables, &["runs", "show"]).await;
    ran.refused(2, &["Usage: pgworkflows runs show <RUN>\n"]);
    assert!(!ran.err.contains("--url") && !ran.err.contains("--schema"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_variable_is_none() {
    let variables = [("DATABASE_URL", "memory:"), ("PGWORKFLOWS_SCHEMA", "")];
    assert_eq!(run_in(Some(""), &variables, &["runs", "list"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_that_does_not_exist_is_not_found_by_any_command() {
    let world = World::new().await;
    let id = "019b7a00-0000-7007-8000-000000000001";
    for command in ["show", "why", "history", "watch", "cancel", "pause", "resume", "retry"] {
        world.run(&["runs", command, id]).await.refused(3, &["there is no run", id, "check the id"]);
    }
    world.run(&["runs", "signal", id, "approve"]).await.refused(3, &["there is no run", id]);
    world.run(&["runs", "terminate", id, "--reason", "x"]).await.refused(3, &["there is no run", id]);
    world.run(&["export", id]).await.refused(3, &["there is no run", id]);
    let by_key = world.run(&["runs", "show", "--workflow", "order", "--key", "o-1"]).await;
    by_key.refused(3, &["no run of workflow `order` with key `o-1`", "--schema"]);
    world
        .run(&["runs", "show", "019b7a00-0000"])
        .await
        .refused(3, &["no run's id begins with `019b7a00-0000`"]);
    world.run(&["runs", "show", "seven"]).await.refused(2, &["`seven` is not a run id", "at least 8"]);
    world.run(&["runs", "show"]).await.refused(2, &["<RUN>"]);
    // A script gets the same as a value.
    let refused = world.run(&["runs", "show", id, "--json"]).await;
    let error: Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!((refused.code, &error["error"]["kind"]), (3, &"unknown-run".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_that_is_over_takes_no_request() {
    let world = World::new().await;
    let worker = world.work();
    let run = world.client.start::<order>(Order { item: 1 }).await.unwrap();
    run.signal(APPROVE, true).await.unwrap();
    run.result().timeout(Duration::from_secs(60)).await.unwrap();
    let id = run.run_id().to_string();
    for command in [
        &["runs", "cancel", &id][..],
        &["runs", "pause", &id],
        &["runs", "resume", &id],
        &["runs", "retry", &id],
        &["runs", "signal", &id, "approve", "true"],
        &["runs", "terminate", &id, "--reason", "x"],
    ] {
        world.run(command).await.refused(4, &["is over and accepts no more messages", &id]);
    }
    // Its key leads to it, and not to another input.
    world.client.start::<order>(Order { item: 1 }).key("o-1").await.unwrap();
    let other = world.run(&["runs", "start", "order", r#"{"item": 2}"#, "--key", "o-1"]).await;
    other.refused(4, &["`o-1`", "order"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_of_another_schema_is_found_there() {
    let world = World::new().await;
    let flows = PostgresStore::builder(world.database.url()).schema("flows").connect().await.unwrap();
    let client = pgworkflows::Client::new(flows);
    let id = client.start::<order>(Order { item: 1 }).await.unwrap().run_id().to_string();
    for command in ["show", "why", "cancel"] {
        let words = ["there is no run", "schema `flows` of this database has it: pass --schema flows"];
        world.run(&["runs", command, &id]).await.refused(3, &words);
    }
    assert_eq!(world.json(&["runs", "show", &id, "--schema", "flows"]).await["run_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_without_tables_is_migrated_by_its_command_alone() {
    let world = World::new().await;
    let schema = ["--schema", "flows"];
    let refused = world.run(&[&["runs", "list"][..], &schema].concat()).await;
    refused.refused(5, &["schema `flows` lacks", "run `pgworkflows migrate`"]);
    world.run(&[&["migrate", "--check"][..], &schema].concat()).await.refused(5, &["lacks"]);
    let printed = world.run(&[&["migrate", "--print"][..], &schema].concat()).await;
    assert!(printed.out.contains("create table flows.frames"), "{}", printed.out.len());
    let migrated = world.run(&[&["migrate"][..], &schema].concat()).await;
    assert_eq!((migrated.code, migrated.out.as_str()), (0, "schema `flows` is up to date\n"), "{migrated:?}");
    assert_eq!(world.run(&[&["migrate", "--check"][..], &schema].concat()).await.code, 0);
    assert_eq!(world.run(&[&["runs", "list"][..], &schema].concat()).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_is_not_json_starts_nothing() {
    let world = World::new().await;
    let start = async |input: &str| world.run(&["runs", "start", "order", input]).await;
    start("Ada").await.refused(2, &["the input of workflow `order` is not JSON", "`Ada`", r#"'"Ada"'"#]);
    start(r#"{"item": }"#).await.refused(2, &["line 1 column 10", r#"`{"item": }`"#]);
    start("@/no/such/file").await.refused(3, &["the file `/no/such/file` cannot be read"]);
    world.run(&["runs", "start", "", "1"]).await.refused(2, &["workflow", "empty"]);
    let content =
        world.run(&["runs", "signal", "019b7a00-0000-7007-8000-000000000001", "approve", "yes"]).await;
    content.refused(2, &["the content of signal `approve` is not JSON", "`yes`"]);
    assert_eq!(world.json(&["runs", "list"]).await["runs"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_does_not_fit_its_workflow_is_told_with_its_field_and_its_run_is_kept() {
    let world = World::new().await;
    let worker = world.work();
    world.until(&["workers"], |ran| ran.out.contains("clerk")).await;
    let refused = world.run(&["runs", "start", "order", r#"{"item": "seven"}"#]).await;
    refused.refused(
        1,
        &["its code cannot go on", "item", "invalid type: string, expected u32", "runs terminate"],
    );
    let runs = world.json(&["runs", "list", "--status", "stalled"]).await;
    let id = runs["runs"][0]["run_id"].as_str().unwrap();
    assert!(refused.err.contains(id), "{refused:?}");
    let why = world.run(&["runs", "why", id]).await;
    assert!(why.out.contains("is stalled") && why.out.contains("expected u32"), "{why:?}");
    let cancel = world.run(&["runs", "cancel", id]).await;
    assert!(
        cancel.code == 0 && cancel.err.contains("the run is stalled, and cancels itself when"),
        "{cancel:?}"
    );
    // A list says why a run ended
    assert_eq!(world.run(&["runs", "terminate", id, "--reason", "a wrong item"]).await.code, 0);
    world.until(&["runs", "list", "--status", "terminated"], |ran| ran.out.contains("a wrong item")).await;
    worker.stop().await;
}
