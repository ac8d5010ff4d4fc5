//! What people look at: lists, descriptions, explanations, histories, queues and workers.

use std::time::Duration;

use pgworkflows::client::RunStatus;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_in_pages_by_workflow_and_status() {
    // Given runs of two workflows that no worker has begun
    let world = World::new().await;
    let empty = world.run(&["runs", "list"]).await;
    assert_eq!((empty.code, empty.out.as_str()), (0, "no such run\n"));
    for item in 0..3 {
        world.client.start::<order>(Order { item }).key(format!("o-{item}")).await.unwrap();
        // Ids sort by birth, to the millisecond.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.client.start::<bill>(5).await.unwrap();

    // Then people see a table, the newest first, and scripts a value with where it goes on
    let table = world.run(&["runs", "list"]).await;
    let lines: Vec<&str> = table.out.lines().collect();
    assert!(lines[0].starts_with("RUN ") && lines[0].contains("WORKFLOW  KEY  STATUS"), "{table:?}");
    assert!(lines[1].contains(" bill ") && lines[4].contains(" order     o-0  pending "), "{table:?}");
    let page = world.json(&["runs", "list", "--workflow", "order", "--limit", "2"]).await;
    assert_eq!(page["runs"][0]["key"], "o-2");
    assert_eq!(page["next"], page["runs"][1]["run_id"]);
    let rest = ["runs", "list", "--workflow", "order", "--before", page["next"].as_str().unwrap()];
    let rest = world.json(&rest).await;
    assert_eq!((rest["runs"].as_array().unwrap().len(), &rest["next"]), (1, &serde_json::Value::Null));
    assert_eq!(world.json(&["runs", "list", "--status", "failed"]).await["runs"], serde_json::json!([]));
    assert_eq!(world.json(&["runs", "list", "--open"]).await["runs"].as_array().unwrap().len(), 4);

    // And a search for few among many says how far it looked
    let searched = ["runs", "list", "--workflow", "order", "--search", "1"];
    let none = world.run(&searched).await;
    assert_eq!(none.out, "no such run among those that were searched\n", "{none:?}");
    assert!(
        none.err.contains("runs since ") && none.err.contains("there may be more: --before "),
        "{none:?}"
    );
    let page = world.json(&searched).await;
    let next = [&searched[..4], &["--before", page["next"].as_str().unwrap(), "--search", "3"]].concat();
    let page = world.json(&next).await;
    assert_eq!(page["runs"].as_array().unwrap().len(), 3, "{page}");

    // And all of them, as lines
    let all = world.run(&["runs", "list", "--all", "--json"]).await;
    assert_eq!(all.out.lines().count(), 4, "{all:?}");
    assert_eq!(world.run(&["runs", "list", "--all"]).await.out.lines().count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_started_with_attributes_and_found_by_them() {
    let world = World::new().await;
    let start = async |customer: &str| {
        let customer = format!("customer={customer}");
        let start = ["runs", "start", "bill", "5", "--delay", "600", "--attribute", &customer];
        let start = [&start[..], &["--attribute", "note=a=b, c"]].concat();
        world.json(&start).await["run_id"].as_str().unwrap().to_owned()
    };
    let (one, other) = (start("41").await, start("42").await);
    let found =
        world.json(&["runs", "list", "--attribute", "customer=42", "--attribute", "note=a=b, c"]).await;
    assert_eq!((&found["runs"][0]["run_id"], &found["runs"][1]), (&other.into(), &serde_json::Value::Null));
    assert_eq!(found["runs"][0]["attributes"], serde_json::json!({"customer": "42", "note": "a=b, c"}));
    assert_eq!(world.run(&["runs", "list", "--attribute", "customer=43"]).await.out, "no such run\n");
    let shown = world.run(&["runs", "show", &one]).await;
    assert!(shown.out.contains("attributes  customer=41, note=a=b, c\n"), "{shown:?}");

    world.run(&["runs", "list", "--attribute", "customer"]).await.refused(2, &["NAME=VALUE", "customer"]);
    world
        .run(&["runs", "list", "--attribute", "=x"])
        .await
        .refused(2, &["the name of an attribute \"\" is empty"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_that_waits_is_shown_and_explained_with_its_line_of_code() {
    let world = World::new().await;
    let worker = world.work();
    let run = world.client.start::<order>(Order { item: 7 }).key("o-7").await.unwrap().run_id().to_string();

    let shown = world.until(&["runs", "show", &run], |ran| ran.out.contains("waiting")).await;
    assert!(shown.out.contains("waits for   signal `approve` at cli/tests/cli/support.rs:"), "{shown:?}");
    let why = world.run(&["runs", "why", "--workflow", "order", "--key", "o-7"]).await;
    assert!(why.out.starts_with(&format!("Run {run} of workflow `order` (key `o-7`) waits.")), "{why:?}");
    assert!(why.out.contains("* it waits for signal `approve`\n    since"), "{why:?}");
    assert!(why.out.contains("in the code    cli/tests/cli/support.rs:"), "{why:?}");
    let why = world.json(&["runs", "why", &run]).await;
    assert_eq!((&why["status"], &why["reasons"][0]["kind"]), (&"waiting".into(), &"signal".into()));
    assert_eq!(why["last_event"]["what"], "run.started");

    // By the beginning of its id, which is that of no other run
    let other = world.client.start::<bill>(1).await.unwrap().run_id().to_string();
    let common = run.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    assert_eq!(world.json(&["runs", "show", &run[..run.len() - 1]]).await["run_id"], run);
    world.run(&["runs", "show", &run[..common]]).await.refused(2, &["several runs' ids begin", &run, &other]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_and_the_next_attempt_are_explained() {
    let world = World::new().await;
    let worker = world.work();
    let run = world.client.start::<bill>(500).await.unwrap().run_id().to_string();
    let why = world.until(&["runs", "why", &run], |ran| ran.out.contains("attempt 2")).await;
    for words in [
        "* attempt 2 of activity `charge` begins at ",
        "failed last    the bank refused 500 cents (io)",
        "at once: `pgworkflows runs retry",
        "since          20",
        "Last event: activity.attempt-failed (call 1)",
    ] {
        assert!(why.out.contains(words), "{words}: {why:?}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_without_a_worker_asks_for_one_and_for_its_workflow() {
    let world = World::new().await;
    // The queue is made by a client with the shards of the worker.
    let run =
        world.client.start_named("unheard-of", serde_json::json!(1)).await.unwrap().run_id().to_string();
    let started = world.run(&["runs", "start", "unheard-of", "1"]).await;
    assert!(
        started.err.contains("it has not begun yet: no live worker serves queue `default`"),
        "{started:?}"
    );
    let why = world.run(&["runs", "why", &run]).await;
    assert!(why.out.contains("no live worker serves queue `default`"), "{why:?}");
    let worker = world.work();
    let why = world.until(&["runs", "why", &run], |ran| ran.out.contains("1 live worker,")).await;
    assert!(why.out.contains("none knows workflow `unheard-of`"), "{why:?}");
    let started = world.run(&["runs", "start", "unheard-of", "1"]).await;
    assert!(
        started.err.contains("no live worker of queue `default` knows workflow `unheard-of`"),
        "{started:?}"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_shown_and_followed_to_its_end() {
    let world = World::new().await;
    let worker = world.work();
    let started = world.client.start::<order>(Order { item: 7 }).await.unwrap();
    let run = started.run_id().to_string();
    let arguments = ["runs", "watch", &run, "--timeout", "60"];
    let watched = world.run(&arguments);
    let (watched, ()) = tokio::join!(watched, async {
        started.signal(APPROVE, true).await.unwrap();
        assert_eq!(started.result().timeout(Duration::from_secs(60)).await.unwrap(), "item 7 is sold");
    });
    assert_eq!(watched.code, 0, "{watched:?}");
    assert!(
        watched.out.contains("run.started order") && watched.out.contains("run.completed"),
        "{watched:?}"
    );

    let history = world.run(&["runs", "history", &run]).await;
    assert!(history.out.lines().next().unwrap().contains("run.started order {\"item\": 7}"), "{history:?}");
    let last = world.json(&["runs", "history", &run, "--limit", "1"]).await;
    assert_eq!((&last["skipped"], &last["events"][0]["name"]), (&2.into(), &"run.completed".into()));

    // A run that fails is an error for a script that waits for it
    let started = world.client.start::<order>(Order { item: 8 }).await.unwrap();
    started.signal(APPROVE, false).await.unwrap();
    let watched = world.run(&["runs", "watch", &started.run_id().to_string(), "--json"]).await;
    assert_eq!(watched.code, 1, "{watched:?}");
    assert_eq!(started.status().await.unwrap(), RunStatus::Failed);
    let why = world.run(&["runs", "why", &started.run_id().to_string()]).await;
    assert!(why.out.contains("is over: it failed") && why.out.contains("nobody wants it"), "{why:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_workers_are_shown() {
    let world = World::new().await;
    assert!(world.run(&["queues"]).await.out.contains("no queue yet"));
    assert_eq!(world.run(&["workers"]).await.out, "no live worker\n");
    let worker = world.work();
    let workers = world.until(&["workers"], |ran| ran.out.contains("clerk")).await;
    assert!(workers.out.contains("bill, order"), "{workers:?}");
    let queues = world.json(&["queues"]).await;
    assert_eq!(
        (&queues["queues"][0]["name"], &queues["queues"][0]["shard_count"]),
        (&"default".into(), &4.into())
    );
    let workers = world.json(&["workers", "--queue", "default"]).await;
    assert_eq!(
        (&workers["workers"][0]["name"], &workers["workers"][0]["queue"]),
        (&"clerk".into(), &"default".into())
    );
    assert_eq!(world.run(&["queues", "--queue", "default"]).await.code, 0);
    world.run(&["queues", "--queue", "fast"]).await.refused(3, &["no queue `fast`", "creates it"]);
    let start = world.run(&["runs", "start", "order", "1", "--queue", "fast"]).await;
    start.refused(3, &["no queue `fast`", "creates it"]);
    worker.stop().await;
}
