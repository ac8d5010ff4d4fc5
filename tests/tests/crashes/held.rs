//! What users hold open delays nobody else's append.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows::Client;
use pgworkflows_postgres::{InTransaction, PostgresStore};
use pgworkflows_tests::around;
use sqlx::Connection;
use tokio::time::Instant;

use crate::append_times::AppendTimes;
use crate::env::{SHARDS, World};
use crate::wait::{PATIENCE, until};
use crate::worker::{Collect, NUMBER, Working};

/// The least that an append may be held up; the default is more.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// Watches runs of every shard begin, take signals and end while something is held open.
async fn busy(client: &Client, rounds: usize) {
    for round in 0..rounds {
        let runs = (0..8).map(async |_| {
            let run = client.start::<Collect>(2).await.unwrap();
            run.signal(NUMBER, 1).await.unwrap();
            run.signal(NUMBER, 2).await.unwrap();
            assert_eq!(run.result().timeout(PATIENCE).await.unwrap(), [1, 2], "round {round}");
        });
        futures::future::join_all(runs).await;
    }
}

/// Asserts that appends were made, and none was held up.
fn assert_prompt(times: &AppendTimes) {
    let appends = times.take();
    let slowest = appends.iter().max().copied().unwrap();
    assert!(appends.len() >= 20, "only {} appends", appends.len());
    assert!(slowest < LOCK_TIMEOUT, "an append took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_holds_a_key_a_start_and_a_signal_delays_no_append() {
    let world = World::new().await;
    let store = PostgresStore::builder(world.url()).lock_timeout(LOCK_TIMEOUT).connect().await.unwrap();
    let times = Arc::new(AppendTimes::default());
    let worker = Working::start(around(store, Arc::clone(&times) as _), |worker| worker);
    let parked = world.client.start::<Collect>(3).await.unwrap();
    parked.signal(NUMBER, 1).await.unwrap();
    until("the run has its first signal", async || {
        (world.log().await.count("signal.received") == 1).then_some(())
    })
    .await;

    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    let held = world.client.start::<Collect>(0).key("held").in_transaction(&mut transaction).await.unwrap();
    parked.signal(NUMBER, 2).in_transaction(&mut transaction).await.unwrap();
    times.take();
    busy(&world.client, 10).await;
    // The very run whose signal is held goes on as well.
    parked.signal(NUMBER, 3).await.unwrap();
    until("the run has its next signal", async || {
        let history = parked.history().await.unwrap();
        (history.iter().filter(|event| event.event.name().as_str() == "signal.received").count() == 2)
            .then_some(())
    })
    .await;
    assert_prompt(&times);

    // Only who asks for the very key waits, and only so long.
    let asked = Instant::now();
    let impatient = PostgresStore::builder(world.url()).lock_timeout(Duration::from_millis(50));
    let impatient = Client::builder(impatient.connect().await.unwrap()).queue_shards(SHARDS).build().unwrap();
    let error = impatient.start::<Collect>(0).key("held").await.unwrap_err();
    assert!(error.is_key_held(), "{error}");
    assert!(asked.elapsed() < PATIENCE / 2);

    transaction.commit().await.unwrap();
    assert_eq!(held.result().timeout(PATIENCE).await.unwrap(), [0; 0]);
    assert_eq!(parked.result().timeout(PATIENCE).await.unwrap(), [1, 3, 2]);
    world.log().await.check();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_with_an_open_snapshot_delays_neither_appends_nor_new_partitions() {
    let database = pgworkflows_pg_harness::Postgres::shared().create_database().unwrap();
    let builder = PostgresStore::builder(database.url()).lock_timeout(LOCK_TIMEOUT);
    // A partition per second: one is made while each of the others is written to.
    let store = builder.partition_width(Duration::from_secs(1)).connect().await.unwrap();
    let world = World::on(database).await;
    let times = Arc::new(AppendTimes::default());
    let worker = Working::start(around(store, Arc::clone(&times) as _), |worker| {
        worker.heartbeat_interval(Duration::from_millis(250))
    });
    busy(&world.client, 1).await;

    let mut connection = world.connection().await;
    let mut reader = connection.begin().await.unwrap();
    sqlx::query("set transaction isolation level repeatable read").execute(&mut *reader).await.unwrap();
    let read =
        "select count(*) from pgworkflows.events union all select count(*) from pgworkflows.closed_runs";
    let seen: Vec<i64> = sqlx::query_scalar(read).fetch_all(&mut *reader).await.unwrap();
    let before = partitions(&world).await;
    times.take();
    until("partitions are made", async || {
        busy(&world.client, 1).await;
        (partitions(&world).await >= before + 6).then_some(())
    })
    .await;
    assert_prompt(&times);

    let still: Vec<i64> = sqlx::query_scalar(read).fetch_all(&mut *reader).await.unwrap();
    assert_eq!(still, seen, "the reader's snapshot was open all the time");
    reader.rollback().await.unwrap();
    world.log().await.check();
    worker.stop().await;
}

/// How many partitions the log and the runs that are over have.
async fn partitions(world: &World) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_inherits
         where inhparent in ('pgworkflows.events'::regclass, 'pgworkflows.closed_runs'::regclass)
           and inhrelid::regclass::text !~ '_pkey|position'",
    )
    .fetch_one(&mut world.connection().await)
    .await
    .unwrap()
}
