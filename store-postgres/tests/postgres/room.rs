//! Connections: how many a process opens, and what it does if they are refused.

use std::time::Duration;

use pgworkflows_core::Client;
use pgworkflows_core::store::Store;
use pgworkflows_postgres::PostgresStore;

use crate::engine::{runs_complete, worker};
use crate::support::*;

/// A role with a connection limit that may create a schema, and its URL. The caller drops the role.
async fn limited_role(world: &World, connections: usize) -> (String, String) {
    let role = format!("limited_{}", world.database.name());
    let database = world.database.name();
    world
        .execute(format!(
            "create role {role} login connection limit {connections}; grant create on database {database} to {role}"
        ))
        .await;
    let url = url_as(&role, &world.database);
    (role, url)
}

async fn drop_role(world: &World, role: &str) {
    let disconnect = "select pg_terminate_backend(pid) from pg_stat_activity where usename";
    world.execute(format!("{disconnect} = '{role}'; drop owned by {role} cascade; drop role {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_has_a_connection_per_processor() {
    let world = World::new().await;
    let url = format!("{}?application_name=idle", world.database.url());
    let store = PostgresStore::builder(&url).schema("flows").pool_size(1).connect().await.unwrap();
    let mut connection = world.connection().await;
    let mut owned_and_open = async || -> (i64, i64) {
        let count = "select (select count(distinct lease) from flows.shards where lease is not null),
                            (select count(*) from pg_stat_activity where application_name = 'idle')";
        sqlx::query_as(count).fetch_one(&mut connection).await.unwrap()
    };
    // When all processors own their shards
    let settled = async {
        // Then there is one connection for each, and one each for the heartbeat, the notifier and the pool. Connecting
        // opened others, which may still be closing.
        while owned_and_open().await != (4, 7) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    worker(&store, 4).run_until(settled).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_number_of_connections_is_enough() {
    let world = World::new().await;
    // Given a role with p + 3 connections for two processors
    let (role, url) = limited_role(&world, 5).await;
    let store = PostgresStore::builder(&url).schema("flows").pool_size(1).connect().await.unwrap();
    // Then runs pass through the inbox and complete
    runs_complete(&store, 2).await;
    drop(store);
    drop_role(&world, &role).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_too_few_connections_ends_with_an_error_that_says_what_it_needs() {
    let world = World::new().await;
    let (role, url) = limited_role(&world, 4).await;
    let store = PostgresStore::builder(&url).schema("flows").pool_size(1).connect().await.unwrap();
    let client = Client::new(store.clone());
    let refused = worker(&store, 2).run_until(std::future::pending()).await.unwrap_err().to_string();
    for words in
        ["needs at least 5 connections", "up to 7", "the role's connection limit is 4", "`processors`"]
    {
        assert!(refused.contains(words), "{refused}");
    }
    // A client needs fewer.
    client.list().await.unwrap();
    assert_eq!(store.queue("default", 4).await.unwrap().name, "default");
    drop((client, store));
    drop_role(&world, &role).await;
}
