//! Migrations: who applies them, and which schemas are refused.

use pgworkflows_core::store::{Store, StoreError};
use pgworkflows_pg_harness::{Database, Postgres};
use pgworkflows_postgres::PostgresStore;
use sqlx::{Connection, PgConnection};

use crate::support::{assert_misconfigured, execute, url_as};

async fn run(database: &Database, sql: impl Into<String>) {
    execute(&mut PgConnection::connect(database.url()).await.unwrap(), sql).await;
}

#[tokio::test]
async fn eight_simultaneous_connects_migrate_once() {
    let database = Postgres::shared().create_database().unwrap();
    let connects = (0..8).map(|_| {
        let url = database.url().to_owned();
        tokio::spawn(async move { PostgresStore::connect(&url).await })
    });
    let stores = futures::future::join_all(connects).await;
    for store in stores {
        store.unwrap().unwrap().queue("default", 4).await.unwrap();
    }
}

#[tokio::test]
async fn an_unmigrated_schema_is_refused_if_migrating_is_off() {
    let database = Postgres::shared().create_database().unwrap();
    let answer = PostgresStore::builder(database.url()).migrate(false).connect().await;
    assert_misconfigured(answer, &["migrations_sql"]);
}

#[tokio::test]
async fn the_printed_sql_makes_a_schema_that_is_accepted() {
    let database = Postgres::shared().create_database().unwrap();
    run(&database, PostgresStore::migrations_sql("flows").unwrap()).await;
    let builder = PostgresStore::builder(database.url()).schema("flows").migrate(false);
    let store = builder.connect().await.unwrap();
    store.queue("default", 4).await.unwrap();
}

#[tokio::test]
async fn two_schemas_of_one_database_are_independent() {
    let database = Postgres::shared().create_database().unwrap();
    for schema in ["one", "other"] {
        let store = PostgresStore::builder(database.url()).schema(schema).connect().await.unwrap();
        assert_eq!(store.queue("default", 4).await.unwrap().first_shard.get(), 0);
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_refused() {
    let database = Postgres::shared().create_database().unwrap();
    PostgresStore::connect(database.url()).await.unwrap();
    run(&database, "insert into pgworkflows.migrations values (999, 'from_the_future', '')").await;
    let answer = PostgresStore::connect(database.url()).await;
    assert_misconfigured(answer, &["999 (from_the_future)", "newer version"]);
}

#[tokio::test]
async fn a_migration_with_another_text_is_corruption() {
    let database = Postgres::shared().create_database().unwrap();
    PostgresStore::connect(database.url()).await.unwrap();
    run(&database, "update pgworkflows.migrations set checksum = ''").await;
    let refused = PostgresStore::connect(database.url()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
}

#[tokio::test]
async fn a_user_with_rights_to_the_tables_and_functions_can_work() {
    let database = Postgres::shared().create_database().unwrap();
    PostgresStore::connect(database.url()).await.unwrap();
    let role = format!("app_{}", database.name());
    run(
        &database,
        format!(
            "create role {role} login;
             grant usage on schema pgworkflows to {role};
             grant select, insert, update, delete on all tables in schema pgworkflows to {role};
             grant execute on all functions in schema pgworkflows to {role}"
        ),
    )
    .await;
    let url = url_as(&role, &database);
    let store = PostgresStore::builder(&url).migrate(false).connect().await;
    run(&database, format!("drop owned by {role}; drop role {role}")).await;
    store.unwrap();
}
