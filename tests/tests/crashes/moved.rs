//! A schema goes to another cluster while messages wait in its inbox: by dump and restore, and by logical replication.
//! What counts the transactions there has nothing to do with what counted them here.

use pgworkflows::{RunHandle, RunId};
use pgworkflows_pg_harness::{Database, Postgres};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::env::World;
use crate::wait::{PATIENCE, until};
use crate::worker::{Collect, NUMBER, Working};

/// How many transactions a server is ahead of a new one.
const AHEAD: usize = 2_000;

/// Sends a run those numbers, as one client does that waits for each answer.
async fn send(run: &RunHandle<Collect>, numbers: std::ops::Range<u32>) {
    for number in numbers {
        run.signal(NUMBER, number).await.unwrap();
    }
}

/// Goes on in the other cluster: sends the rest of so many numbers, and asserts that the run takes all in order.
async fn finish(database: Database, run: RunId, sent: u32, count: u32) {
    let world = World::on(database).await;
    let run = world.client.handle::<Collect>(run);
    send(&run, sent..count).await;
    let worker = Working::start(world.store.clone(), |worker| worker);
    let numbers = run.result().timeout(PATIENCE).await.unwrap();
    assert!(numbers.iter().copied().eq(0..count), "they came as {numbers:?}");
    world.log().await.check();
    worker.stop().await;
}

/// A run that waits for so many numbers, of which that many are sent.
async fn waiting(world: &World, sent: u32, count: u32) -> RunHandle<Collect> {
    let run = world.client.start::<Collect>(count).await.unwrap();
    send(&run, 0..sent).await;
    run
}

async fn connect(database: &Database) -> PgConnection {
    PgConnection::connect(database.url()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_of_a_restored_dump_come_before_later_ones_and_in_their_order() {
    // Given more signals than are read at a time, dumped while they wait
    let (old, new) = (Postgres::start().unwrap(), Postgres::start().unwrap());
    let dump = old.scratch_dir().join("dump");
    let world = World::on(old.create_database().unwrap()).await;
    let run = waiting(&world, 3_000, 3_005).await.run_id();
    old.dump(world.database(), &["--schema=pgworkflows"], &dump).unwrap();
    drop(world);
    // When they are restored in another cluster, and more are sent there
    let restored = new.create_database().unwrap();
    new.restore_dump(&dump, &restored).unwrap();
    // Then none overtakes another
    finish(restored, run, 3_000, 3_005).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_that_were_replicated_come_before_later_ones_and_in_their_order() {
    // Given signals that wait in a cluster which is far ahead of a new one
    let old = Postgres::builder().setting("wal_level", "logical").start().unwrap();
    let new = Postgres::start().unwrap();
    let tables = old.scratch_dir().join("tables");
    let world = World::on(old.create_database().unwrap()).await;
    let mut publisher = world.connection().await;
    for _ in 0..AHEAD {
        sqlx::query("select pg_current_xact_id()").execute(&mut publisher).await.unwrap();
    }
    let run = waiting(&world, 100, 110).await;
    // When its tables are replicated, those signals as a copy and further ones as they come
    old.dump(world.database(), &["--schema-only", "--schema=pgworkflows"], &tables).unwrap();
    let replica = new.create_database().unwrap();
    new.restore_dump(&tables, &replica).unwrap();
    let publish = "create publication move for all tables with (publish_via_partition_root = true)";
    sqlx::query(publish).execute(&mut publisher).await.unwrap();
    let mut subscriber = connect(&replica).await;
    let subscribe = format!("create subscription move connection '{}' publication move", world.url());
    sqlx::raw_sql(AssertSqlSafe(subscribe)).execute(&mut subscriber).await.unwrap();
    send(&run, 100..105).await;
    until("the start and all signals are replicated", async || {
        let copying = "select count(*) from pg_subscription_rel where srsubstate <> 'r'";
        let copying: i64 = sqlx::query_scalar(copying).fetch_one(&mut subscriber).await.unwrap();
        let messages = sqlx::query_scalar("select count(*) from pgworkflows.inbox");
        let messages: i64 = messages.fetch_one(&mut subscriber).await.unwrap();
        (copying == 0 && messages == 106).then_some(())
    })
    .await;
    let partition = "select pgworkflows.make_partition((extract(epoch from now()) * 1000)::bigint, '2s')";
    sqlx::query(partition).execute(&mut subscriber).await.unwrap();
    sqlx::raw_sql("drop subscription move").execute(&mut subscriber).await.unwrap();
    drop(world);
    // Then none of what is sent to the new cluster overtakes one
    finish(replica, run.run_id(), 105, 110).await;
}
