//! Connections: how many a process opens, and what it does where it may not have them.

use std::time::Duration;

use pgworkflows_core::Client;
use pgworkflows_core::store::Store;
use pgworkflows_postgres::PostgresStore;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::engine::{runs_complete, worker};
use crate::support::*;

/// A role of that many connections that owns the schema; dropped by the caller.
async fn limited(world: &World, connections: usize) -> (String, String) {
    let role = format!("limited_{}", world.database.name());
    let mut connection = world.connection().await;
    execute(&mut connection, format!("create role {role} login connection limit {connections}")).await;
    execute(&mut connection, format!("grant create on database {} to {role}", world.database.name())).await;
    let url = world.database.url().replacen("postgres@", &format!("{role}@"), 1);
    (role, url)
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.unwrap();
}

async fn drop_role(world: &World, role: &str) {
    let mut connection = world.connection().await;
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";
    sqlx::query(cut).bind(role).execute(&mut connection).await.unwrap();
    execute(&mut connection, format!("drop owned by {role} cascade")).await;
    execute(&mut connection, format!("drop role {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_rests_has_a_connection_per_processor() {
    let world = World::new().await;
    let url = format!("{}?application_name=resting", world.database.url());
    let store = PostgresStore::builder(&url).schema("flows").pool_size(1).connect().await.unwrap();
    let mut connection = world.connection().await;
    let mut owned_and_open = async || -> (i64, i64) {
        let count = "select (select count(distinct lease) from flows.shards where lease is not null),
                            (select count(*) from pg_stat_activity where application_name = 'resting')";
        sqlx::query_as(count).fetch_one(&mut connection).await.unwrap()
    };
    // When all processors have their shards
    let settled = async {
        // Then each has one connection, the heart one, the bell one, the pool one; connecting opened others, which
        // may be on their way out.
        while owned_and_open().await != (4, 7) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    worker(&store, 4).run_until(settled).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_number_of_connections_is_enough() {
    let world = World::new().await;
    // Given a role with what two processors need: p + 3
    let (role, url) = limited(&world, 5).await;
    let store = PostgresStore::builder(&url).schema("flows").pool_size(1).connect().await.unwrap();
    // Then runs go through the inbox and come to their ends
    runs_complete(&store, 2).await;
    drop(store);
    drop_role(&world, &role).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_too_few_connections_ends_and_says_what_it_needs() {
    let world = World::new().await;
    let (role, url) = limited(&world, 4).await;
    let store = PostgresStore::builder(&url).schema("flows").pool_size(1).connect().await.unwrap();
    let client = Client::new(store.clone());
    let refused = worker(&store, 2).run_until(std::future::pending()).await.unwrap_err().to_string();
    for words in
        ["needs 5 connections at least", "up to 7", "the role's connection limit is 4", "`processors`"]
    {
        assert!(refused.contains(words), "{refused}");
    }
    // A client needs fewer.
    client.list().await.unwrap();
    assert_eq!(store.queue("default", 4).await.unwrap().name, "default");
    drop((client, store));
    drop_role(&world, &role).await;
}
