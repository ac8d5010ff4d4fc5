//! Partitions of the log: when they are made, and what making them blocks.

use std::time::Duration;

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::store::{
    ChainLink, ClosedRun, ClosedStatus, OpenState, RunLink, Store, StoreError, Submitted,
};
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
    assert_eq!(partitions(&world, "frames").await.len(), 3);
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
    assert_eq!(world.count("frames").await, 3);
    assert_eq!(world.count("closed_runs").await, 3);
    assert!((5..=6).contains(&partitions(&world, "frames").await.len()));
}

#[tokio::test]
async fn a_detached_partition_is_attached_again() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    writer.append_event(run, 1).await.unwrap();
    for table in partitions(&world, "frames").await {
        world.execute(format!("alter table pgworkflows.frames detach partition {table} concurrently")).await;
    }
    assert!(writer.load(&[run]).await.is_empty());
    writer.append_event(run, 2).await.unwrap();
    assert_eq!(writer.load(&[run]).await[0].frames.len(), 2);
}

#[tokio::test]
async fn a_chain_outlives_the_partitions_of_its_first_runs() {
    // Given a chain whose first two runs were born long ago
    let world = World::new().await;
    let mut writer = world.writer().await;
    let long_ago = Timestamp::from_micros(world.queue.now.as_micros() - 100 * DAY);
    let (first, second, third) = (world.run_born(0, long_ago), world.run_born(0, long_ago), world.run(0));
    let continued = |run| ClosedRun { status: ClosedStatus::Continued, ..closed_run(run) };
    let batch = writer.batch().event(first, 1).opened(first, OpenState::Busy, None);
    writer.append(batch).await.unwrap();
    for (run, predecessor, number) in [(second, first, 2), (third, second, 3)] {
        let mut batch = writer.batch().event(predecessor, 2).event(run, 1).opened(run, OpenState::Busy, None);
        batch.append.closed.push(continued(predecessor));
        batch.append.links.push(RunLink { run, link: ChainLink { first, predecessor, number } });
        writer.append(batch).await.unwrap();
    }
    let old = partitions(&world, "links").await;
    assert_eq!((old.len(), world.count("links").await), (4, 2), "links have partitions as the log has");

    // When the partitions of that time are dropped, with the links that they hold
    for parent in ["frames", "closed_runs", "links", "published", "replies"] {
        let oldest = partitions(&world, parent).await.remove(0);
        world
            .execute(format!("alter table pgworkflows.{parent} detach partition {oldest} concurrently"))
            .await;
        world.execute(format!("drop table {oldest}")).await;
    }
    assert_eq!(world.count("links").await, 1);

    // Then a message to the first run, whose id a key keeps, still reaches the current one
    world.submit(signal(first, "to the first")).await;
    let page = writer.read(9).await.unwrap();
    let read: Vec<_> = page.messages.iter().map(|message| (message.run, message.current)).collect();
    assert_eq!(read, [(first, third)]);
    writer.append(writer.batch().event(third, 2).consumed(&page)).await.unwrap();
    let described = world.store.query().describe(third).await.unwrap().unwrap();
    assert_eq!(described.link, Some(ChainLink { first, predecessor: second, number: 3 }));
    // And the second, which nothing leads from any more, is a run that does not exist
    let refused = world.store.submit(&[signal(second, "to the second")]).await.unwrap();
    assert_eq!(refused, [Submitted::UnknownRun]);
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
    execute(&mut reader, "select count(*) from pgworkflows.frames").await;

    let old = world.run_born(0, Timestamp::from_micros(world.queue.now.as_micros() - 100 * DAY));
    writer.append_event(old, 1).await.unwrap();
    writer.append_event(run, 2).await.unwrap();
    let seen: i64 =
        sqlx::query_scalar("select count(*) from pgworkflows.frames").fetch_one(&mut *reader).await.unwrap();
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
    assert_eq!(partitions(&world, "frames").await.len(), 4);
}

#[tokio::test]
async fn a_schema_keeps_the_width_of_its_partitions() {
    let world = World::with(|builder| builder.partition_width(Duration::from_secs(3600))).await;
    let names = partitions(&world, "frames").await;
    assert_eq!(names.len(), 3);
    // Another process asks for another width, and the existing one applies.
    pgworkflows_postgres::PostgresStore::connect(world.database.url()).await.unwrap();
    let again = partitions(&world, "frames").await;
    assert!(again.len() <= 4, "{again:?}");
}

#[tokio::test]
async fn a_heartbeat_makes_the_next_partition_when_its_time_comes() {
    let world = World::with(|builder| builder.partition_width(Duration::from_secs(1))).await;
    let mut writer = world.writer().await;
    let before = partitions(&world, "frames").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    heartbeat_for(&mut writer, vec![]).await;
    let after = partitions(&world, "frames").await;
    assert!(after.len() > before.len() && after.starts_with(&before), "{before:?} {after:?}");
    assert_eq!(partitions(&world, "closed_runs").await.len(), after.len());
}

/// How the server stores a body of 7 kB that cannot be compressed, and one that can: whether it is in its row, and how many
/// bytes of it there are.
async fn stored(writer: &mut Writer, world: &World, born: Timestamp) -> [(bool, i32); 2] {
    let run = world.run_born(0, born);
    let noise = (0_u64..7000).scan(1_u64, |state, _| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Some((*state >> 56) as u8)
    });
    let noise = Bytes::from_iter(noise);
    let batch = writer.batch().frame(run, 1, 1, noise).frame(run, 2, 1, vec![7; 7000].into());
    writer.append(batch).await.unwrap();
    let sql = "select pg_relation_size(c.reltoastrelid) = 0, pg_column_size(f.body)
               from pgworkflows.frames f join pg_class c on c.oid = f.tableoid
               where f.run_id = $1::uuid order by f.seq";
    let query = sqlx::query_as(sql).bind(run.to_string());
    let rows: Vec<(bool, i32)> = query.fetch_all(&mut world.connection().await).await.unwrap();
    rows.try_into().unwrap()
}

#[tokio::test]
async fn frames_of_some_kilobytes_stay_in_their_rows() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    // Given a server that has lz4, if this one has: then a body that can be compressed is
    let [(noise_inside, noise), (inside, compressed)] = stored(&mut writer, &world, world.queue.now).await;
    assert!(noise_inside && inside && noise >= 7000, "{noise}");
    let sql = "select 'lz4' = any (enumvals) from pg_settings where name = 'default_toast_compression'";
    let has_lz4: bool = sqlx::query_scalar(sql).fetch_one(&mut world.connection().await).await.unwrap();
    assert_eq!(compressed < 1000, has_lz4, "{compressed}");

    // Given a server without it, which has only the slow method: then it compresses neither
    world.execute("alter table pgworkflows.frames alter column body set compression pglz").await;
    let old = Timestamp::from_micros(world.queue.now.as_micros() - 100 * DAY);
    let [(noise_inside, noise), (inside, plain)] = stored(&mut writer, &world, old).await;
    assert!(noise_inside && inside && noise >= 7000 && plain >= 7000, "{noise} {plain}");
}
