//! Partitions of the log: when they are made, and what making them blocks.

use std::time::Duration;

use pgworkflows_core::Timestamp;
use pgworkflows_core::store::StoreError;
use sqlx::{Connection, Row};

use crate::support::*;

const DAY: i64 = 24 * 3600 * 1_000_000;

async fn partitions(world: &World, parent: &str) -> Vec<String> {
    sqlx::query(
        "select inhrelid::regclass::text from pg_inherits
         where inhparent = ('pgworkflows.' || $1)::regclass order by 1",
    )
    .bind(parent)
    .fetch_all(&mut world.connection().await)
    .await
    .unwrap()
    .iter()
    .map(|row| row.get(0))
    .collect()
}

#[tokio::test]
async fn connecting_makes_the_current_partition_and_the_next_two() {
    let world = World::new().await;
    assert_eq!(partitions(&world, "events").await.len(), 3);
    assert_eq!(partitions(&world, "closed_runs").await.len(), 3);
}

#[tokio::test]
async fn a_missing_partition_is_made_and_the_append_applied() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    // Two births in one partition, and an older one.
    let births = [100, 101, 400].map(|days| world.queue.now.as_micros() - days * DAY);
    let runs = births.map(|born| world.run_born(0, Timestamp::from_micros(born)));
    let mut batch = writer.batch();
    for run in runs {
        batch = batch.event(run, 1).closed(run);
    }
    writer.append(batch).await.unwrap();
    assert_eq!(world.count("events").await, 3);
    assert_eq!(world.count("closed_runs").await, 3);
    assert!((5..=6).contains(&partitions(&world, "events").await.len()));
}

#[tokio::test]
async fn a_detached_partition_is_attached_again() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    writer.append_event(run, 1).await.unwrap();
    for table in partitions(&world, "events").await {
        world.execute(format!("alter table pgworkflows.events detach partition {table} concurrently")).await;
    }
    assert!(writer.load(&[run]).await.is_empty());
    writer.append_event(run, 2).await.unwrap();
    assert_eq!(writer.load(&[run]).await[0].events.len(), 2);
}

#[tokio::test]
async fn a_run_born_in_the_future_gets_no_partition() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run_born(0, Timestamp::from_micros(world.queue.now.as_micros() + 400 * DAY));
    let refused = writer.append_event(run, 1).await;
    assert!(matches!(refused, Err(StoreError::LimitExceeded { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_reader_with_an_open_snapshot_blocks_neither_partitions_nor_appends() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    writer.append_event(run, 1).await.unwrap();
    let mut connection = world.connection().await;
    let mut reader = connection.begin_with("begin isolation level repeatable read").await.unwrap();
    execute(&mut reader, "select count(*) from pgworkflows.events").await;

    let old = world.run_born(0, Timestamp::from_micros(world.queue.now.as_micros() - 100 * DAY));
    writer.append_event(old, 1).await.unwrap();
    writer.append_event(run, 2).await.unwrap();
    let seen: i64 =
        sqlx::query_scalar("select count(*) from pgworkflows.events").fetch_one(&mut *reader).await.unwrap();
    assert_eq!(seen, 1);
    reader.rollback().await.unwrap();
}

#[tokio::test]
async fn partitions_made_simultaneously_are_made_once() {
    let world = World::new().await;
    let mut writers = futures::future::join_all((0..4).map(|_| world.writer_for(TTL, 1))).await;
    writers.retain(|writer| !writer.positions.is_empty());
    let born = Timestamp::from_micros(world.queue.now.as_micros() - 200 * DAY);
    let appends = writers.iter_mut().map(|writer| {
        let shard = writer.positions.keys().next().unwrap().get();
        writer.append_event(world.run_born(shard, born), 1)
    });
    for appended in futures::future::join_all(appends).await {
        appended.unwrap();
    }
    assert_eq!(partitions(&world, "events").await.len(), 4);
}

#[tokio::test]
async fn a_schema_keeps_the_width_of_its_partitions() {
    let world = World::with(|builder| builder.partition_width(Duration::from_secs(3600))).await;
    let names = partitions(&world, "events").await;
    assert_eq!(names.len(), 3);
    // Another process asks for another width, and the existing one applies.
    pgworkflows_postgres::PostgresStore::connect(world.database.url()).await.unwrap();
    let again = partitions(&world, "events").await;
    assert!(again.len() <= 4, "{again:?}");
}

#[tokio::test]
async fn a_heartbeat_makes_the_next_partition_when_its_time_comes() {
    let world = World::with(|builder| builder.partition_width(Duration::from_secs(1))).await;
    let mut writer = world.writer().await;
    let before = partitions(&world, "events").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    heartbeat_for(&mut writer, vec![]).await;
    let after = partitions(&world, "events").await;
    assert!(after.len() > before.len() && after.starts_with(&before), "{before:?} {after:?}");
    assert_eq!(partitions(&world, "closed_runs").await.len(), after.len());
}
