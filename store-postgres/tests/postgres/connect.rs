//! Refused connections, and their error messages.

use std::time::Duration;

use pgworkflows_core::store::StoreError;
use pgworkflows_pg_harness::Postgres;
use pgworkflows_postgres::PostgresStore;
use sqlx::{Connection, PgConnection};

use crate::support::*;

async fn refusal(url: &str) -> StoreError {
    PostgresStore::connect(url).await.unwrap_err()
}

#[tokio::test]
async fn a_wrong_password_is_named_but_not_shown() {
    let database = Postgres::shared().create_database().unwrap();
    let role = format!("guarded_{}", database.name());
    // A role that does not exist is refused with the same code as a wrong password.
    let url = database.url().replacen("postgres@", &format!("{role}:hunter2@"), 1);
    let error = refusal(&url).await;
    let text = error.to_string();
    assert!(matches!(error, StoreError::Misconfigured { .. }), "{text}");
    assert!(text.contains(&role) && text.contains("check user and password"), "{text}");
    assert!(!text.contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let url = format!("{}_nowhere", Postgres::shared().create_database().unwrap().url());
    let answer = PostgresStore::connect(&url).await;
    assert_misconfigured(answer, &["_nowhere` at", "no such database"]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable() {
    let error = refusal("postgres://me:hunter2@127.0.0.1:1/app").await;
    assert!(matches!(error, StoreError::Unavailable { definite: false, .. }));
    assert!(error.to_string().contains("`app` at 127.0.0.1:1 as user `me`"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn invalid_options_are_refused() {
    let builder = || PostgresStore::builder("postgres://127.0.0.1:1/app");
    for (builder, word) in [
        (builder().schema("Robert'); drop"), "schema"),
        (builder().pool_size(0), "pool"),
        (builder().lock_timeout(Duration::ZERO), "lock timeout"),
        (builder().call_timeout(Duration::from_millis(1)), "call timeout"),
        (builder().partition_width(Duration::from_millis(90_500)), "partition"),
        (PostgresStore::builder("mysql://root:hunter2@localhost/app"), "postgres://"),
    ] {
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(error, StoreError::Misconfigured { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_utf8_is_refused() {
    let server = Postgres::start().unwrap();
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = encoding.to_lowercase();
        execute(
            &mut connection,
            format!("create database {name} encoding '{encoding}' locale 'C' template template0"),
        )
        .await;
        let url = server.url();
        let (server, _) = url.rsplit_once('/').unwrap();
        let answer = PostgresStore::connect(&format!("{server}/{name}")).await;
        assert_misconfigured(answer, &[&format!("`{name}`"), encoding, "UTF8", "template0"]);
    }
}

#[tokio::test]
async fn a_standby_is_refused_at_once() {
    let server = Postgres::start().unwrap();
    let standby = server.start_standby(Duration::ZERO).unwrap();
    let error = refusal(&standby.url()).await;
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let place = format!("`postgres` at 127.0.0.1:{} as user `postgres` is a standby", standby.port());
    for words in [&*place, "give the address of the primary"] {
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_database_whose_transactions_default_to_another_kind_is_refused() {
    for (setting, needed) in [
        (
            "default_transaction_isolation = 'serializable'",
            "default_transaction_isolation = 'read committed'",
        ),
        ("default_transaction_read_only = on", "default_transaction_read_only = off"),
    ] {
        let database = Postgres::shared().create_database().unwrap();
        let name = database.name();
        execute(
            &mut PgConnection::connect(database.url()).await.unwrap(),
            format!("alter database {name} set {setting}"),
        )
        .await;
        assert_misconfigured(PostgresStore::connect(database.url()).await, &[needed, name]);
    }
}
