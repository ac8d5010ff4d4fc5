//! A schema that was moved here from another cluster or database. The workspace's tests have a real move, by `pg_dump`;
//! these tests write its traces by hand.

use std::time::Duration;

use pgworkflows_core::RunId;
use pgworkflows_core::store::{OpenState, Suspect, SuspectStage};
use pgworkflows_pg_harness::Postgres;
use pgworkflows_postgres::PostgresStore;

use crate::support::*;

/// The state after a dump was restored. The cluster's identifier and the inbox's transaction ids are from another
/// cluster, and the ids are greater than any that this cluster has assigned.
const MOVED: &str = "
    update pgworkflows.settings set system_identifier = 1;
    update pgworkflows.inbox set xid = (1000000000 + number)::text::xid8";

async fn connect(world: &World) -> PostgresStore {
    let builder = PostgresStore::builder(world.database.url()).lock_timeout(LOCK_TIMEOUT);
    builder.verify_appends(false).connect().await.unwrap()
}

/// The same database, for a process that connects after the move.
async fn after_the_move(mut world: World) -> World {
    world.store = connect(&world).await;
    world
}

/// Sends a run the numbers of a range, one by one.
async fn send(world: &World, run: RunId, numbers: std::ops::Range<u32>) {
    for number in numbers {
        world.submit(signal(run, &number.to_string())).await;
    }
}

/// All messages that a new owner reads, in pages.
async fn read_all(writer: &mut Writer) -> Vec<String> {
    let mut read = Vec::new();
    loop {
        let page = writer.read(7).await.unwrap();
        read.extend(texts(&page));
        if !page.more {
            return read;
        }
    }
}

fn numbers(count: u32) -> Vec<String> {
    std::iter::once("start".to_owned()).chain((0..count).map(|number| number.to_string())).collect()
}

#[tokio::test]
async fn a_moved_inbox_is_read_in_the_order_of_its_numbers() {
    // Given messages of one client, from before a move and from after it
    let world = World::new().await;
    let run = world.run(0);
    world.submit(start(run, None, "start")).await;
    send(&world, run, 0..30).await;
    world.execute(MOVED).await;
    let world = after_the_move(world).await;
    send(&world, run, 30..40).await;
    // When a new owner reads them in pages, then no message overtakes another
    assert_eq!(read_all(&mut world.writer().await).await, numbers(40));
    // And the move is over: a process that connects now fences no owner
    let mut writer = world.writer_for(TTL, 0).await;
    connect(&world).await;
    assert!(heartbeat(&mut writer, Some(TTL)).await.leases[0].held);
}

#[tokio::test]
async fn lease_from_another_cluster_is_fenced_and_its_shards_are_free_without_a_death() {
    let world = World::new().await;
    // Given an owner that was working on a suspect
    let mut owner = world.writer().await;
    let run = world.run(0);
    let tried = Suspect { run, stage: SuspectStage::Tried, strikes: 1 };
    let mut batch = owner.batch();
    batch.append.suspects = vec![tried];
    owner.append(batch).await.unwrap();
    // When the schema is moved
    world.execute(MOVED).await;
    let world = after_the_move(world).await;
    // Then it cannot continue. It is not counted as dead, nor the suspect as the cause
    assert_fenced(owner.append_event(run, 1).await);
    assert_eq!(world.count("appends").await, 0);
    let next = world.session().await.claim(&claim(None, TTL, 4)).await.unwrap();
    assert_eq!(next.shards.len(), 4);
    assert!(next.shards.iter().all(|shard| (shard.deaths, &shard.former) == (0, &None)), "{next:?}");
    assert_eq!(next.suspects, [Suspect { stage: SuspectStage::Held, ..tried }]);
}

#[tokio::test]
async fn a_process_that_survives_the_move_rewrites_the_inbox_at_its_heartbeat() {
    // Given an owner that has read some messages, whose database is then moved
    let world = World::new().await;
    let mut owner = world.writer().await;
    let run = world.run(0);
    world.submit(start(run, None, "start")).await;
    send(&world, run, 0..5).await;
    owner.read(3).await.unwrap();
    world.execute(MOVED).await;
    // When it sends a heartbeat, then its lease is no longer held, and a new read has all messages in order
    assert!(!heartbeat(&mut owner, Some(TTL)).await.leases[0].held);
    send(&world, run, 5..10).await;
    assert_eq!(read_all(&mut world.writer().await).await, numbers(10));
}

#[tokio::test]
async fn a_claim_rewrites_a_moved_inbox_too() {
    let world = World::new().await;
    let run = world.run(0);
    world.submit(start(run, None, "start")).await;
    send(&world, run, 0..20).await;
    world.execute("update pgworkflows.settings set database_oid = 1").await;
    world.execute("update pgworkflows.inbox set xid = (1000000000 + number)::text::xid8").await;
    assert_eq!(read_all(&mut world.writer().await).await, numbers(20));
}

#[tokio::test]
async fn numbers_continue_after_the_greatest_of_a_replicated_schema() {
    // Given waiting messages, and one with a greater number that arrived too late for its run
    let world = World::new().await;
    let mut writer = world.writer().await;
    let (run, over) = (world.run(0), world.run(1));
    world.submit(start(run, None, "start")).await;
    send(&world, run, 0..3).await;
    let page = writer.read(10).await.unwrap();
    world.submit(start(over, None, "over")).await;
    let late = signal(over, "late");
    world.submit(late.clone()).await;
    let batch = writer.batch().event(over, 1).opened(over, OpenState::Busy, None);
    writer.append(batch).await.unwrap();
    let late_page = writer.read(10).await.unwrap();
    let batch = writer.batch().event(over, 2).closed(over).undelivered(&late_page);
    writer.append(batch).await.unwrap();
    // When logical replication copies them to a cluster that has assigned no number
    world.execute(MOVED).await;
    world.execute("alter table pgworkflows.inbox alter number restart with 1").await;
    let world = after_the_move(world).await;
    // Then the next message has a new number
    send(&world, run, 3..5).await;
    let mut writer = world.writer().await;
    let after = writer.read(10).await.unwrap();
    assert_eq!(texts(&after), ["start", "0", "1", "2", "3", "4"]);
    let greatest = late_page.messages.last().unwrap().number;
    assert!(after.messages[..4].iter().all(|message| message.number <= greatest));
    assert!(after.messages[4].number > greatest, "{after:?}");
    assert_eq!(page.messages[..4], after.messages[..4]);
}

#[tokio::test]
async fn many_simultaneous_processes_rewrite_a_moved_inbox_once() {
    // Given more messages than one transaction rewrites
    let world = World::new().await;
    world.execute("insert into pgworkflows.inbox (run_id, message_id, shard, opens, body)
         select gen_random_uuid(), gen_random_uuid(), 0, false, n::text::bytea from generate_series(1, 25000) n",
    )
    .await;
    world.execute(MOVED).await;
    // When eight processes connect, and the first ones claim and read while others still check
    let owners = (0..8).map(|_| async {
        let store = connect(&world).await;
        let mut session = pgworkflows_core::store::Store::session(&store).await.unwrap();
        let claimed = session.claim(&claim(None, TTL, 4)).await.unwrap();
        let mut owner = Writer::new(session, &claimed);
        let mut read = Vec::new();
        loop {
            let page = owner.read(5000).await.unwrap();
            read.extend(texts(&page));
            if !page.more {
                return read;
            }
        }
    });
    let read = futures::future::join_all(owners).await.concat();
    // Then one of them reads all messages, each once and in order
    assert!(read.iter().map(|text| text.parse::<u32>().unwrap()).eq(1..=25_000), "{} were read", read.len());
}

#[tokio::test]
async fn a_message_of_a_transaction_that_has_not_begun_is_refused_until_the_inbox_is_rewritten() {
    // Given a message that was replicated into a schema that belongs here
    let world = World::new().await;
    let run = world.run(0);
    let mut owner = world.writer().await;
    world.submit(start(run, None, "start")).await;
    send(&world, run, 0..10).await;
    owner.read(2).await.unwrap();
    world.execute("update pgworkflows.inbox set xid = '1000000000' where number = 4").await;
    // When it is read, then it is refused, as a new message and on a page
    for mut reader in [owner, Writer { cursor: Default::default(), ..world.writer_for(TTL, 0).await }] {
        reader.positions =
            (0..4).map(|n| (world.run(n).shard(), pgworkflows_core::id::Position::FIRST)).collect();
        let words = ["message 4", "transaction 1000000000", "schema `pgworkflows`", "set database_oid"];
        assert_misconfigured(reader.read(2).await, &words);
    }
    // And the advice of the error helps
    world.execute("update pgworkflows.settings set database_oid = null").await;
    assert_eq!(read_all(&mut world.writer().await).await, numbers(10));
}

#[tokio::test]
async fn a_schema_whose_owner_may_not_read_the_cluster_identifier_is_known_by_its_database() {
    let database = Postgres::shared().create_database().unwrap();
    let owner = format!("owner_{}", database.name());
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(database.url()).await.unwrap();
    let mut run = async |sql: String| execute(&mut admin, sql).await;
    run(format!(
        "create role {owner} login; grant create on database {} to {owner};
         revoke execute on function pg_control_system() from public",
        database.name()
    ))
    .await;
    let url = url_as(&owner, &database);
    let first = PostgresStore::connect(&url).await.map(drop);
    run("update pgworkflows.settings set database_oid = 1".to_owned()).await;
    let moved = PostgresStore::connect(&url).await.map(drop);
    let settings: (Option<i64>, bool) = sqlx::query_as(
        "select system_identifier, database_oid = (select oid from pg_database where datname = current_database())
         from pgworkflows.settings",
    )
    .fetch_one(&mut <sqlx::PgConnection as sqlx::Connection>::connect(database.url()).await.unwrap())
    .await
    .unwrap();
    run(format!("drop owned by {owner}; drop role {owner}")).await;
    first.unwrap();
    moved.unwrap();
    assert_eq!(settings, (None, true));
}

#[tokio::test]
async fn a_process_waits_while_another_one_rewrites_the_inbox() {
    let world = World::new().await;
    world.execute(MOVED).await;
    // Given another process that is rewriting
    let mut other = world.begin().await;
    execute(&mut other, "select from pgworkflows.settings for update").await;
    // Then no other process can proceed
    let connecting = connect(&world);
    futures::pin_mut!(connecting);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut connecting).await.is_err());
    other.rollback().await.unwrap();
    connecting.await;
}
