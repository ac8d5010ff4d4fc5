//! Limits of time that an administrator gives to a role or a database: statements, transactions, locks, idle sessions.

use std::pin::pin;
use std::time::Duration;

use pgworkflows_core::Client;
use pgworkflows_pg_harness::{Database, Postgres};
use pgworkflows_postgres::PostgresStore;
use sqlx::{Connection, PgConnection};

use crate::engine::{Greeting, WORD, runs_complete, worker};
use crate::support::*;

/// The shortest limits that a store with the default options accepts.
pub(crate) const SHORT: &[(&str, &str)] =
    &[("statement_timeout", "3s"), ("idle_in_transaction_session_timeout", "1s"), ("lock_timeout", "1ms")];

/// Gives a database the short limits.
pub(crate) async fn set(admin: &mut PgConnection, database: &str) {
    for (name, value) in SHORT {
        execute(admin, format!("alter database {database} set {name} = '{value}'")).await;
    }
}

/// A database with that setting.
async fn database_with(setting: &str) -> (Database, PgConnection) {
    let database = Postgres::shared().create_database().unwrap();
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    execute(&mut admin, format!("alter database {} set {setting}", database.name())).await;
    (database, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_complete_under_the_shortest_time_limits() {
    let database = Postgres::shared().create_database().unwrap();
    set(&mut PgConnection::connect(database.url()).await.unwrap(), database.name()).await;
    runs_complete(&PostgresStore::connect(database.url()).await.unwrap(), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_completes_although_the_server_ends_idle_sessions() {
    // Given a store whose sessions end when they are idle for a moment
    let world = World::new().await;
    let store = world.store.clone();
    world.alter_database("set idle_session_timeout = '500ms'").await;
    let client = Client::new(store.clone());
    let talk = async {
        // When a run waits for longer than that
        let run = client.start::<Greeting>("Ada".to_owned()).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        // Then its signal, its timer and its activity still work
        run.signal(WORD, "Hello".to_owned()).await?;
        run.result().await
    };
    let mut answer = None;
    worker(&store, 1).run_until(async { answer = Some(talk.await) }).await.unwrap();
    assert_eq!(answer.unwrap().unwrap(), "Hello, Ada!");
}

#[tokio::test]
async fn a_time_limit_too_short_for_calls_is_refused_with_what_they_need() {
    let cases: [(&str, &str, bool, &[&str]); 3] = [
        ("statement_timeout", "1s", true, &["is 1s", "at least 3s", "= 0", "3000ms", "`lock_timeout`"]),
        ("statement_timeout", "2999ms", false, &["is 2.999s", "2s to wait for a lock and 1s to work"]),
        (
            "idle_in_transaction_session_timeout",
            "999ms",
            false,
            &["is 999ms", "at least 1s", "without prepared statements", "1000ms"],
        ),
    ];
    for (setting, value, prepared, words) in cases {
        let (database, _) = database_with(&format!("{setting} = '{value}'")).await;
        let answer = PostgresStore::builder(database.url()).prepared_statements(prepared).connect().await;
        let name = format!("`{setting}` of user `postgres` in database `{}`", database.name());
        assert_misconfigured(answer, &[&[&*name], words].concat());
    }
}

#[tokio::test]
async fn a_time_limit_that_cancels_even_the_check_is_named() {
    let (database, _) = database_with("statement_timeout = '1ms'").await;
    let error = PostgresStore::connect(database.url()).await.unwrap_err();
    assert!(error.to_string().contains("`statement_timeout`"), "{error}");
}

#[tokio::test]
async fn a_shorter_lock_timeout_of_the_store_suits_a_short_statement_timeout() {
    let (database, _) = database_with("statement_timeout = '1500ms'").await;
    let builder = || PostgresStore::builder(database.url());
    assert_misconfigured(builder().connect().await, &["a shorter `lock_timeout`"]);
    builder().lock_timeout(Duration::from_millis(500)).connect().await.unwrap();
}

#[tokio::test]
async fn a_process_waits_for_another_ones_migration_longer_than_its_time_limits_allow() {
    let (database, mut admin) = database_with("statement_timeout = '1500ms'").await;
    execute(&mut admin, format!("alter database {} set lock_timeout = '1ms'", database.name())).await;
    // Given another process that is creating the schema
    let mut other = admin.begin().await.unwrap();
    execute(&mut other, "create schema pgworkflows").await;
    // When one connects, and the other one gives up after longer than a statement may take
    let connecting =
        PostgresStore::builder(database.url()).lock_timeout(Duration::from_millis(500)).connect();
    let give_up = async {
        until_another_session_waits_for(&mut other).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        other.rollback().await.unwrap();
    };
    let mut connecting = pin!(connecting);
    tokio::select! {
        early = &mut connecting => panic!("it did not wait: {early:?}"),
        () = give_up => {}
    }
    // Then it migrates.
    connecting.await.unwrap();
}
