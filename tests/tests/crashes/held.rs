//! Open transactions of users delay no append.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows::Client;
use pgworkflows_postgres::{InTransaction, PostgresStore};
use pgworkflows_tests::{DEADLINE, eventually, intercept, logged};
use sqlx::Connection;
use tokio::time::Instant;

use crate::append_times::AppendTimes;
use crate::env::{PgEnv, SHARDS};
use crate::worker::{Collect, NUMBER, start_worker};

/// How long an append may take at most. The default is longer.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs of every shard start, receive signals and end.
async fn busy(client: &Client, rounds: usize) {
    for round in 0..rounds {
        let runs = (0..8).map(async |_| {
            let run = client.start::<Collect>(2).await.unwrap();
            run.signal(NUMBER, 1).await.unwrap();
            run.signal(NUMBER, 2).await.unwrap();
            assert_eq!(run.result().timeout(DEADLINE).await.unwrap(), [1, 2], "round {round}");
        });
        futures::future::join_all(runs).await;
    }
}

/// Asserts that there were appends, and that none was delayed.
fn assert_prompt(times: &AppendTimes) {
    let appends = times.take();
    let slowest = appends.iter().max().copied().unwrap();
    assert!(appends.len() >= 20, "only {} appends", appends.len());
    assert!(slowest < LOCK_TIMEOUT, "an append took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_transaction_with_a_key_a_start_and_a_signal_delays_no_append() {
    let env = PgEnv::new().await;
    let store = PostgresStore::builder(env.url()).lock_timeout(LOCK_TIMEOUT).connect().await.unwrap();
    let times = Arc::new(AppendTimes::default());
    let worker = start_worker(intercept(store, Arc::clone(&times) as _), |worker| worker);
    let parked = env.client.start::<Collect>(3).await.unwrap();
    parked.signal(NUMBER, 1).await.unwrap();
    logged(&parked, "signal.received", 1).await;

    let mut connection = env.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    let held = env.client.start::<Collect>(0).key("held").in_transaction(&mut transaction).await.unwrap();
    parked.signal(NUMBER, 2).in_transaction(&mut transaction).await.unwrap();
    times.take();
    busy(&env.client, 10).await;
    // The run whose signal is held continues as well.
    parked.signal(NUMBER, 3).await.unwrap();
    logged(&parked, "signal.received", 2).await;
    assert_prompt(&times);

    // Only a request for the same key waits, and not for long.
    let asked = Instant::now();
    let impatient = PostgresStore::builder(env.url()).lock_timeout(Duration::from_millis(50));
    let impatient = Client::builder(impatient.connect().await.unwrap()).queue_shards(SHARDS).build().unwrap();
    let error = impatient.start::<Collect>(0).key("held").await.unwrap_err();
    assert!(error.is_key_held(), "{error}");
    assert!(asked.elapsed() < DEADLINE / 2);

    transaction.commit().await.unwrap();
    assert_eq!(held.result().timeout(DEADLINE).await.unwrap(), [0; 0]);
    assert_eq!(parked.result().timeout(DEADLINE).await.unwrap(), [1, 3, 2]);
    env.log().await.check();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_snapshot_of_a_reader_delays_neither_appends_nor_new_partitions() {
    let database = pgworkflows_pg_harness::Postgres::shared().create_database().unwrap();
    let builder = PostgresStore::builder(database.url()).lock_timeout(LOCK_TIMEOUT);
    // A partition per second, so that new partitions are made while others are written to.
    let store = builder.partition_width(Duration::from_secs(1)).connect().await.unwrap();
    let env = PgEnv::on(database).await;
    let times = Arc::new(AppendTimes::default());
    let worker = start_worker(intercept(store, Arc::clone(&times) as _), |worker| {
        worker.heartbeat_interval(Duration::from_millis(250))
    });
    busy(&env.client, 1).await;

    let mut connection = env.connection().await;
    let mut reader = connection.begin().await.unwrap();
    sqlx::query("set transaction isolation level repeatable read").execute(&mut *reader).await.unwrap();
    let read =
        "select count(*) from pgworkflows.frames union all select count(*) from pgworkflows.closed_runs";
    let seen: Vec<i64> = sqlx::query_scalar(read).fetch_all(&mut *reader).await.unwrap();
    let before = partitions(&env).await;
    times.take();
    eventually("partitions are made", async || {
        busy(&env.client, 1).await;
        (partitions(&env).await >= before + 6).then_some(())
    })
    .await;
    assert_prompt(&times);

    let still: Vec<i64> = sqlx::query_scalar(read).fetch_all(&mut *reader).await.unwrap();
    assert_eq!(still, seen, "the reader's snapshot was open all the time");
    reader.rollback().await.unwrap();
    env.log().await.check();
    worker.stop().await;
}

/// How many partitions the log and the closed runs have.
async fn partitions(env: &PgEnv) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_inherits
         where inhparent in ('pgworkflows.frames'::regclass, 'pgworkflows.closed_runs'::regclass)
           and inhrelid::regclass::text !~ '_pkey|position'",
    )
    .fetch_one(&mut env.connection().await)
    .await
    .unwrap()
}
