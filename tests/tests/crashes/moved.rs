//! A schema goes to another cluster while messages wait in its inbox: by dump and restore, and by logical replication.
//! Transaction ids of the other cluster have nothing to do with those of this one.

use pgworkflows::{RunHandle, RunId};
use pgworkflows_pg_harness::{Database, Postgres};
use pgworkflows_tests::{DEADLINE, eventually};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::env::PgEnv;
use crate::worker::{Collect, NUMBER, start_worker};

/// How many transactions the old server is ahead of a new one.
const AHEAD: usize = 2_000;

/// Sends those numbers to a run, one after another.
async fn send(run: &RunHandle<Collect>, numbers: std::ops::Range<u32>) {
    for number in numbers {
        run.signal(NUMBER, number).await.unwrap();
    }
}

/// Continues in the other cluster: sends the remaining numbers, and asserts that the run receives all in order.
async fn finish(database: Database, run: RunId, sent: u32, count: u32) {
    let env = PgEnv::on(database).await;
    let run = env.client.handle::<Collect>(run);
    send(&run, sent..count).await;
    let worker = start_worker(env.store.clone(), |worker| worker);
    let numbers = run.result().timeout(DEADLINE).await.unwrap();
    assert!(numbers.iter().copied().eq(0..count), "they arrived as {numbers:?}");
    env.log().await.check();
    worker.stop().await;
}

/// A run that waits for `count` numbers, of which the first are sent.
async fn waiting(env: &PgEnv, sent: u32, count: u32) -> RunHandle<Collect> {
    let run = env.client.start::<Collect>(count).await.unwrap();
    send(&run, 0..sent).await;
    run
}

async fn connect(database: &Database) -> PgConnection {
    PgConnection::connect(database.url()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_of_a_restored_dump_stay_in_order_and_precede_later_signals() {
    // Given more signals than one read returns, dumped while they are in the inbox
    let (old, new) = (Postgres::start().unwrap(), Postgres::start().unwrap());
    let dump = old.scratch_dir().join("dump");
    let env = PgEnv::on(old.create_database().unwrap()).await;
    let run = waiting(&env, 3_000, 3_005).await.run_id();
    old.dump(env.database(), &["--schema=pgworkflows"], &dump).unwrap();
    drop(env);
    // When they are restored in another cluster, which receives more signals
    let restored = new.create_database().unwrap();
    new.restore_dump(&dump, &restored).unwrap();
    // Then none overtakes another
    finish(restored, run, 3_000, 3_005).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicated_signals_stay_in_order_and_precede_later_signals() {
    // Given signals in the inbox of a cluster that is far ahead of a new one
    let old = Postgres::builder().setting("wal_level", "logical").start().unwrap();
    let new = Postgres::start().unwrap();
    let tables = old.scratch_dir().join("tables");
    let env = PgEnv::on(old.create_database().unwrap()).await;
    let mut publisher = env.connection().await;
    for _ in 0..AHEAD {
        sqlx::query("select pg_current_xact_id()").execute(&mut publisher).await.unwrap();
    }
    let run = waiting(&env, 100, 110).await;
    // When its tables are replicated: these signals by the initial copy, later ones as they arrive
    old.dump(env.database(), &["--schema-only", "--schema=pgworkflows"], &tables).unwrap();
    let replica = new.create_database().unwrap();
    new.restore_dump(&tables, &replica).unwrap();
    let publish = "create publication move for all tables with (publish_via_partition_root = true)";
    sqlx::query(publish).execute(&mut publisher).await.unwrap();
    let mut subscriber = connect(&replica).await;
    let subscribe = format!("create subscription move connection '{}' publication move", env.url());
    sqlx::raw_sql(AssertSqlSafe(subscribe)).execute(&mut subscriber).await.unwrap();
    send(&run, 100..105).await;
    eventually("the start and all signals are replicated", async || {
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
    drop(env);
    // Then no signal that is sent to the new cluster overtakes them
    finish(replica, run.run_id(), 105, 110).await;
}
