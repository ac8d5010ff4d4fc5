//! PgBouncer: which calls work in which mode, and what a connecting store recognises.

use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use futures::future::{join, join_all};
use pgworkflows_core::store::{Hint, HintKind, Store, Submitted};
use pgworkflows_core::{RunId, Timestamp};
use pgworkflows_pg_harness::{Database, PgBouncer, PoolMode, Postgres};
use pgworkflows_postgres::{Builder, PostgresStore};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};

use crate::engine::runs_complete;
use crate::settings;
use crate::support::*;
use crate::time_limits;

/// A database and its own pooler.
pub(crate) struct Pooled {
    database: Database,
    pooler: PgBouncer,
}

impl Pooled {
    /// `None` if this machine has no PgBouncer, which the harness then reports.
    pub(crate) fn new(mode: PoolMode, pool_size: u32) -> Option<Self> {
        // All of these tests share one server. The harness stops it when the process ends.
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        if !PgBouncer::is_here() {
            return None;
        }
        let server = SERVER.get_or_init(|| Postgres::start().unwrap());
        let database = server.create_database().unwrap();
        Some(Self { database, pooler: PgBouncer::start(server, mode, pool_size).unwrap() })
    }

    pub(crate) fn url(&self) -> String {
        self.pooler.url(self.database.name())
    }

    pub(crate) fn direct_url(&self) -> &str {
        self.database.url()
    }

    /// A connection through the pooler, without the store.
    pub(crate) async fn connection(&self) -> PgConnection {
        let options = PgConnectOptions::from_str(&self.url()).unwrap();
        options.extra_float_digits(None).connect().await.unwrap()
    }

    pub(crate) fn builder(&self) -> Builder {
        PostgresStore::builder(&self.url()).lock_timeout(Duration::from_secs(5))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_complete_through_transactions_of_a_pooler_without_prepared_statements() {
    for pool_size in [1, 5] {
        let Some(pooled) = Pooled::new(PoolMode::Transaction, pool_size) else { return };
        let store = pooled.builder().prepared_statements(false).connect().await.unwrap();
        runs_complete(&store, 1).await;
        // By the driver's own parameter in the address.
        let url = format!("{}?statement-cache-capacity=0", pooled.url());
        runs_complete(&PostgresStore::connect(&url).await.unwrap(), 1).await;
    }
}

#[tokio::test]
async fn every_call_works_through_transactions_of_a_pooler_without_prepared_statements() {
    for pool_size in [1, 5] {
        let Some(Pooled { database, pooler }) = Pooled::new(PoolMode::Transaction, pool_size) else { return };
        let url = pooler.url(database.name());
        let builder = PostgresStore::builder(&url).prepared_statements(false).verify_appends(true);
        settings::work(&World::on(database, |_| builder).await, "select 1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_complete_through_sessions_of_a_pooler() {
    let Some(pooled) = Pooled::new(PoolMode::Session, 5) else { return };
    // A worker uses three connections, so two are left.
    runs_complete(&pooled.builder().pool_size(1).connect().await.unwrap(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_limits_of_the_role_are_kept_through_both_modes_of_a_pooler() {
    for (mode, pool_size, prepared) in [(PoolMode::Session, 6, true), (PoolMode::Transaction, 2, false)] {
        let Some(pooled) = Pooled::new(mode, pool_size) else { return };
        // Given time limits as short as the store accepts them, and one for locks that it overrides
        let mut admin = PgConnection::connect(pooled.direct_url()).await.unwrap();
        time_limits::set(&mut admin, pooled.database.name()).await;
        // Then the schema is migrated, and runs complete
        let builder = PostgresStore::builder(&pooled.url()).pool_size(1).prepared_statements(prepared);
        runs_complete(&builder.connect().await.unwrap(), 1).await;
        // And the next user of a pooler's connection has the role's own limits.
        let mut other = pooled.connection().await;
        for (name, value) in time_limits::SHORT {
            let setting = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("show {name}")));
            assert_eq!(setting.fetch_one(&mut other).await.unwrap().get::<String, _>(0), *value, "{name}");
        }
    }
}

#[tokio::test]
async fn statements_with_the_same_parameters_are_never_mixed_up() {
    for pool_size in [1, 5] {
        // Given callers of `release` and of `make_partition`, which have the same parameter types, on connections that
        // a pooler gives to either of them
        let Some(pooled) = Pooled::new(PoolMode::Transaction, pool_size) else { return };
        let builder = pooled.builder().prepared_statements(false).verify_appends(false);
        let store = builder.connect().await.unwrap();
        store.queue("default", 64).await.unwrap();
        // When both are busy at the same time
        let makers = join_all((0..3).map(|maker| append_without_partition(&store, maker)));
        let releasers = join_all((0..3).map(|_| claim_and_release(&store)));
        join(makers, releasers).await;
        // Then each call had its own effect: no frame is missing, and only the released leases are fenced.
        let mut connection = PgConnection::connect(pooled.direct_url()).await.unwrap();
        let found = "select (select count(*) from pgworkflows.frames),
                            (select count(*) from pgworkflows.leases where not fenced)";
        let (frames, valid): (i64, i64) = sqlx::query_as(found).fetch_one(&mut connection).await.unwrap();
        assert_eq!((frames, valid), (i64::from(3 * ROUNDS), 3));
    }
}

const ROUNDS: u16 = 10;

/// Appends under its own lease. Each append finds no partition, and makes one.
async fn append_without_partition(store: &PostgresStore, maker: u16) {
    let mut session = store.session().await.unwrap();
    let claimed = session.claim(&claim(None, TTL, 1)).await.unwrap();
    let shard = claimed.shards[0].shard;
    let mut writer = Writer::new(session, &claimed);
    for round in 0..ROUNDS {
        let month = i64::from(maker * ROUNDS + round);
        let born = Timestamp::from_micros((1_400_000_000 + month * 30 * 24 * 3600) * 1_000_000);
        writer.append_event(RunId::new(born, shard, unique()), 1).await.unwrap();
    }
}

async fn claim_and_release(store: &PostgresStore) {
    let mut session = store.session().await.unwrap();
    for _ in 0..3 * ROUNDS {
        let claimed = session.claim(&claim(None, TTL, 1)).await.unwrap();
        session.release(&release(claimed.lease)).await.unwrap();
        assert_fenced(session.claim(&claim(Some(claimed.lease), TTL, 1)).await);
    }
}

#[tokio::test]
async fn append_finds_a_partition_that_its_server_process_missed() {
    // Given a store whose calls all run in one process of the server, and two months without a partition
    let Some(pooled) = Pooled::new(PoolMode::Transaction, 1) else { return };
    let store = pooled.builder().prepared_statements(false).verify_appends(false).connect().await.unwrap();
    let queue = store.queue("default", 1).await.unwrap();
    let mut session = store.session().await.unwrap();
    let claimed = session.claim(&claim(None, TTL, 1)).await.unwrap();
    let mut writer = Writer::new(session, &claimed);
    let [now, first, second] = [0, 100, 200].map(|days| queue.now.as_micros() - days * 24 * 3600 * 1_000_000);
    let run = |born| RunId::new(Timestamp::from_micros(born), queue.first_shard, unique());
    let insert = |born| {
        let run = run(born);
        format!("insert into pgworkflows.frames values ('{run}', 1, now(), 1, 1, 0, '')")
    };
    let make = |born: i64| format!("select pgworkflows.make_partition({}, '10s')", born / 1000);
    let mut same = pooled.connection().await;
    let mut other = PgConnection::connect(pooled.direct_url()).await.unwrap();
    execute(&mut same, insert(now)).await;
    // When the process reads the list of partitions because of the first month, and the second one is attached
    // meanwhile
    execute(&mut other, make(first)).await;
    execute(&mut same, "begin; select from only pgworkflows.frames").await;
    execute(&mut other, "begin; lock table pg_class in access exclusive mode").await;
    execute(&mut other, make(second)).await;
    let attach = async {
        until_another_session_waits_for(&mut other).await;
        execute(&mut other, "commit").await;
    };
    join(execute(&mut same, insert(first)), attach).await;
    execute(&mut same, "commit").await;
    // Only a server without this fault accepts another row of the second month now.
    sqlx::raw_sql(sqlx::AssertSqlSafe(insert(second))).execute(&mut same).await.ok();
    // Then an append to the second month is applied anyway.
    writer.append_event(run(second), 1).await.unwrap();
}

#[tokio::test]
async fn a_call_that_was_cut_short_leaves_no_transaction_open() {
    // Given a pooler with two connections, and a store that may use one
    let Some(pooled) = Pooled::new(PoolMode::Transaction, 2) else { return };
    let store = pooled.builder().prepared_statements(false).pool_size(1).connect().await.unwrap();
    let queue = store.queue("default", 4).await.unwrap();
    let run = || RunId::new(queue.now, queue.first_shard, unique());
    let mut connection = PgConnection::connect(pooled.direct_url()).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let held = [start(run(), Some("acme"), "Acme")];
    store.submit_in(&mut transaction, &held).await.unwrap();
    // When calls are dropped half-way, at various points
    for millis in 0..10 {
        let starts = [start(run(), Some("acme"), "Acme")];
        let cut = tokio::time::timeout(Duration::from_millis(millis), store.submit(&starts)).await;
        assert!(cut.is_err());
    }
    transaction.rollback().await.unwrap();
    // Then no transaction is left open: the next call is answered, and commits.
    let begun = run();
    assert_eq!(store.submit(&[start(begun, None, "Other")]).await.unwrap(), [Submitted::Accepted]);
    let mut connection = PgConnection::connect(pooled.direct_url()).await.unwrap();
    let committed = sqlx::query("select from pgworkflows.open_runs where run_id = $1::uuid");
    let committed = committed.bind(sqlx::types::Uuid::from_u128(begun.as_u128()));
    assert!(committed.fetch_optional(&mut connection).await.unwrap().is_some());
}

#[tokio::test]
async fn a_pooler_that_mixes_up_prepared_statements_is_refused_with_advice() {
    for pool_size in [1, 5] {
        let Some(pooled) = Pooled::new(PoolMode::Transaction, pool_size) else { return };
        // The second time, the pooler's connections already have prepared statements.
        for _ in 0..2 {
            let advice =
                ["prepared_statements(false)", "?statement-cache-capacity=0", "max_prepared_statements"];
            assert_misconfigured(pooled.builder().connect().await, &advice);
        }
    }
}

#[tokio::test]
async fn a_pooler_with_one_connection_for_a_session_is_refused() {
    let Some(pooled) = Pooled::new(PoolMode::Session, 1) else { return };
    let builder = pooled.builder().lock_timeout(Duration::from_secs(1)).call_timeout(Duration::from_secs(4));
    assert_misconfigured(builder.connect().await, &["default_pool_size"]);
}

#[tokio::test]
async fn a_store_that_cannot_listen_through_a_pooler_still_notifies() {
    // Given a worker's store with a direct connection, and a client's through a pooler
    let Some(pooled) = Pooled::new(PoolMode::Transaction, 1) else { return };
    let direct = PostgresStore::connect(pooled.direct_url()).await.unwrap();
    let mut hints = direct.hints(HintKind::Mail);
    // It listens once it reports that hints may have been missed before.
    assert_eq!(hints.recv().await.unwrap(), Hint::Missed);
    let store = pooled.builder().prepared_statements(false).connect().await.unwrap();
    let queue = store.queue("default", 4).await.unwrap();
    // When the client submits
    let run = RunId::new(queue.now, queue.first_shard, unique());
    store.submit(&[start(run, None, "Acme")]).await.unwrap();
    // Then the worker receives the hint
    assert_eq!(hints.recv().await.unwrap(), Hint::Mail(run.shard()));
    // And no setting is left for the next user of the pooler's connection.
    let mut other = pooled.connection().await;
    let setting = sqlx::raw_sql("show synchronous_commit").fetch_one(&mut other).await.unwrap();
    assert_eq!(setting.get::<String, _>(0), "on");
}
