//! Starts in SQL: what a worker makes of them, where runs are placed, and that they are part of the caller's transaction.

use pgworkflows_core::Timestamp;
use pgworkflows_core::client::{Request, RunStatus};
use pgworkflows_core::store::Store;
use serde_json::json;
use sqlx::postgres::PgListener;

use super::*;

#[tokio::test]
async fn worker_executes_what_sql_started() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let run =
        sql.run(r#"pgworkflows.start('trial', '{"company": "Acme", "seats": 3}', key => 'signup:42')"#).await;
    let talk = async {
        assert_eq!(sql.json(&format!("pgworkflows.result('{run}')")).await, Value::Null);
        sql.text(&format!("pgworkflows.signal('{run}', 'upgrade', 'true')")).await;
        let result = sql.until(&format!("pgworkflows.result('{run}')")).await;
        assert_eq!(
            (&result["status"], &result["result"]),
            (&json!("completed"), &json!("Acme upgraded with 3 seats"))
        );
        assert!(result["closed_at"].is_string(), "{result}");
        // Clients of Rust see the same run
        let handle = client(&world).handle::<Trial>(run);
        assert_eq!(handle.result().await.unwrap(), "Acme upgraded with 3 seats");
        assert_eq!(handle.describe().await.unwrap().key.as_deref(), Some("signup:42"));
    };
    worker(&world).run_until(talk).await.unwrap();
}

#[tokio::test]
async fn run_is_found_by_the_attributes_of_its_start_in_sql_and_in_rust() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let start = |customer: u8| {
        let attributes = format!(r#"{{"customer": "{customer}", "region": "größer"}}"#);
        format!("pgworkflows.start('trial', key => 'k-{customer}', attributes => '{attributes}')")
    };
    let (run, other) = (sql.run(&start(42)).await, sql.run(&start(43)).await);
    sql.run("pgworkflows.start('trial')").await;
    // The run of a known key keeps its own
    let again =
        sql.run("pgworkflows.start('trial', key => 'k-42', attributes => '{\"customer\": \"44\"}')").await;
    assert_eq!(again, run);

    let shown = sql.json("select jsonb_agg(attributes order by run_id) from pgworkflows.runs").await;
    let of = |customer: &str| json!({"customer": customer, "region": "größer"});
    let mut expected = vec![of("42"), of("43"), Value::Null];
    expected.sort_by_key(|of| *of == Value::Null);
    let mut shown: Vec<Value> = serde_json::from_value(shown).unwrap();
    shown.sort_by_key(|of| (of.is_null(), of.to_string()));
    assert_eq!(shown, expected);
    let found = client(&world).list().attribute("customer", "43").await.unwrap();
    assert_eq!(found.iter().map(|run| run.run_id).collect::<Vec<_>>(), [other]);
}

#[tokio::test]
async fn repeated_key_finds_the_run_of_rust_and_of_sql() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let signup = Signup { company: "Acme".to_owned(), seats: 3 };
    let rust = client(&world).start::<Trial>(signup).key("a").await.unwrap();
    // SQL sends no digest, so none is compared
    assert_eq!(sql.run("pgworkflows.start('trial', '[]', 'a')").await, rust.run_id());
    assert_eq!(sql.run("pgworkflows.run_of('trial', 'a')").await, rust.run_id());
    let run = sql.run("pgworkflows.start('trial', key => 'ö')").await;
    let again = client(&world).start_named("trial", json!("other")).key("ö").await.unwrap();
    assert!(again.is_existing() && again.run_id() == run);
    assert_eq!(sql.text("pgworkflows.run_of('trial', 'b')").await, "");
}

#[tokio::test]
async fn run_gets_its_id_from_the_clock_and_its_shard_from_its_key() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let other = world.store.queue("other", 64).await.unwrap();
    let client = Client::builder(world.store.clone()).queue("other").build().unwrap();
    let before = world.store.queue("other", 64).await.unwrap().now;
    let mut shards = std::collections::BTreeSet::new();
    for number in 0..100 {
        let key = format!("schlüssel-{number}");
        let run = sql.run(&format!("pgworkflows.start('trial', key => '{key}', queue => 'other')")).await;
        let there = client.start_named("trial", json!(null)).key(&key).prepare().await.unwrap();
        assert_eq!(run.shard(), there.submission().run.shard(), "{key}");
        assert!(run.born() >= Timestamp::from_micros(before.as_micros() / 1000 * 1000), "{run}");
        shards.insert(run.shard());
    }
    assert!(shards.len() > 30 && shards.iter().all(|shard| *shard >= other.first_shard), "{shards:?}");
    // Without a key, a run goes to any shard of its queue
    let text = sql.text(
        "select string_agg(distinct (pgworkflows.shard_of(pgworkflows.start('trial')) || '|' || n % 1)::text, ' ') \
         from generate_series(1, 100) n",
    );
    assert_eq!(text.await, "0|0 1|0 2|0 3|0");
}

#[tokio::test]
async fn start_exists_if_and_when_its_transaction_commits_and_the_commit_notifies() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let mut other = Caller::new(&world).await;
    let mut listener = PgListener::connect(world.database.url()).await.unwrap();
    listener.listen("pgworkflows_hints").await.unwrap();
    sql.execute("begin").await;
    let run = sql.run("pgworkflows.start('trial', key => 'a')").await;
    assert_eq!(other.refused(&format!("pgworkflows.status('{run}')")).await.code, "PW103");
    sql.execute("rollback; begin").await;
    let second = sql.run("pgworkflows.start('trial', key => 'a')").await;
    assert_ne!(run, second);
    sql.execute("commit").await;
    assert_eq!(other.text(&format!("pgworkflows.status('{second}')")).await, "pending");
    let hint = listener.recv().await.unwrap();
    assert_eq!(hint.payload(), format!("mail {}", second.shard()));
    // Unless it is told not to
    sql.run("pgworkflows.start('trial', notify => false)").await;
    sql.text(&format!("pgworkflows.cancel('{second}')")).await;
    assert_eq!(listener.recv().await.unwrap().payload(), hint.payload());
}

#[tokio::test]
async fn trigger_starts_a_run_for_each_row_that_is_committed() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    sql.execute(
        "create table customers (id int primary key, company text);
         create function welcome() returns trigger language plpgsql as $$
         begin
             perform pgworkflows.start('trial', jsonb_build_object('company', new.company, 'seats', 1),
                                       key => 'customer:' || new.id);
             return new;
         end
         $$;
         create trigger welcome after insert on customers for each row execute function welcome();
         insert into customers values (1, 'Acme'), (2, 'Initech')",
    )
    .await;
    sql.execute("begin; insert into customers values (3, 'Hooli'); rollback").await;
    let keys = "select string_agg(key, ' ' order by key) from pgworkflows.runs";
    assert_eq!(sql.text(keys).await, "customer:1 customer:2");
}

#[tokio::test]
async fn start_with_a_signal_starts_the_run_or_signals_the_one_with_its_key() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let start = "pgworkflows.start('trial', '{\"company\": \"Acme\", \"seats\": 1}', key => 'a', signal => 'upgrade', \
                 payload => 'true')";
    let run = sql.run(start).await;
    assert_eq!(sql.run(start).await, run);
    assert_eq!(world.count("inbox").await, 3);
    let talk = async {
        sql.until(&format!("pgworkflows.result('{run}')")).await;
    };
    worker(&world).run_until(talk).await.unwrap();
    // Once it is over, it receives nothing
    let refusal = sql.refused(start).await;
    assert_eq!(refusal.code, "PW104");
    assert!(refusal.message.contains(&run.to_string()), "{refusal:?}");
}

#[tokio::test]
async fn delay_deadline_and_attempts_are_those_of_the_run() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let input = "'{\"company\": \"Acme\", \"seats\": 1}'";
    let later = sql.run(&format!("pgworkflows.start('trial', {input}, delay => '1 day')")).await;
    let late =
        sql.run(&format!("pgworkflows.start('trial', {input}, deadline => '0.01 s', grace => '1 h')")).await;
    let twice = sql
        .run(&format!(
            "pgworkflows.start('trial', {input}, max_attempts => 2, signal => 'upgrade', payload => 'false')"
        ))
        .await;
    let talk = async {
        let timed_out = sql.until(&format!("pgworkflows.result('{late}')")).await;
        assert_eq!(timed_out["status"], "timed-out");
        let client = client(&world);
        let later = client.handle::<Trial>(later);
        while later.status().await.unwrap() != RunStatus::Waiting {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let words = sql.text("select string_agg(status, ' ' order by run_id) from pgworkflows.runs").await;
        assert!(words.starts_with("waiting timed-out "), "{words}");
        sql.until(&format!("select to_jsonb(true) from pgworkflows.runs where predecessor = '{twice}'"))
            .await;
        sql.text(&format!("pgworkflows.signal('{twice}', 'upgrade', 'true')")).await;
        let completed = sql.until(&format!("pgworkflows.result('{twice}')")).await;
        assert_eq!(completed["status"], "completed", "that of the chain: {completed}");
    };
    worker(&world).run_until(talk).await.unwrap();
}

#[tokio::test]
async fn workflow_is_started_in_the_queue_of_its_workers() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let other = world.store.queue("other", 4).await.unwrap();
    let worker = Worker::builder(world.store.clone()).queue("other").workflow::<Trial>();
    let worker = worker.heartbeat_interval(Duration::from_millis(50)).build().unwrap();
    worker
        .run_until(async {
            sql.until("select to_jsonb(true) from pgworkflows.builds limit 1").await;
        })
        .await
        .unwrap();
    assert!(sql.run("pgworkflows.start('trial')").await.shard() >= other.first_shard);
    assert!(sql.run("pgworkflows.start('unknown')").await.shard() < other.first_shard);
    assert!(sql.run("pgworkflows.start('trial', queue => 'default')").await.shard() < other.first_shard);
}

#[tokio::test]
async fn texts_of_any_collation_and_of_a_connection_of_any_encoding_are_the_same_key() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let run = sql.run("pgworkflows.start('trial', key => 'größe')").await;
    sql.execute("set client_encoding = 'LATIN1'").await;
    assert_eq!(sql.run("pgworkflows.start('trial', key => U&'gr\\00F6\\00DFe')").await, run);
    sql.execute("set client_encoding = 'UTF8'").await;
    sql.execute(
        "create collation odd (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
         create table orders (id text collate odd, workflow text collate \"C\", name text collate \"POSIX\");
         insert into orders values ('größe', 'trial', 'upgrade')",
    )
    .await;
    assert_eq!(sql.run("select pgworkflows.start(workflow, key => id) from orders").await, run);
    assert_eq!(sql.run("select pgworkflows.run_of(workflow, id) from orders").await, run);
    sql.text(&format!("select pgworkflows.signal('{run}', name, key => id) from orders")).await;
    sql.text(&format!("pgworkflows.signal('{run}', 'upgrade', key => 'größe')")).await;
    assert_eq!(world.count("inbox").await, 2);
    sql.text(&format!("select pgworkflows.terminate('{run}', id) from orders")).await;
}
