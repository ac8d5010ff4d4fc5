//! Connections: how many a process opens, and what it does if they are refused.

use std::time::Duration;

use futures::future::{join, join_all, try_join_all};
use pgworkflows_core::Client;
use pgworkflows_core::store::{Store, StoreError};
use pgworkflows_postgres::{InTransaction, PostgresStore};

use crate::engine::{Greeting, WORD, runs_complete, worker};
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
        // Then there is one connection for each, and one each for the heartbeat, the tasks, the notifier and the pool.
        // Connecting opened others, which may still be closing.
        while owned_and_open().await != (4, 8) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    worker(&store, 4).run_until(settled).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_number_of_connections_is_enough() {
    let world = World::new().await;
    // Given a role with p + 4 connections for two processors
    let (role, url) = limited_role(&world, 6).await;
    let store = PostgresStore::builder(&url).schema("flows").pool_size(1).connect().await.unwrap();
    // Then runs pass through the inbox and complete
    runs_complete(&store, 2).await;
    drop(store);
    drop_role(&world, &role).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_one_connection_serves_many_clients_while_a_start_waits_for_its_key() {
    let world = World::with(|builder| builder.pool_size(1)).await;
    let store = &world.store;
    // Given an open transaction that holds a key
    let client = Client::builder(store.clone()).poll_interval(Duration::from_millis(50)).build().unwrap();
    let start_held = || client.start::<Greeting>("held".to_owned()).key("held");
    let mut holder = world.begin().await;
    start_held().in_transaction(&mut holder).await.unwrap();
    let talk = async {
        // When a start waits for that key, and fifty others start, signal and wait for a result at the same time
        let held = async { start_held().await };
        let others = (0..50).map(|number| {
            let client = client.clone();
            async move {
                let name = format!("Ada {number}");
                let run = client.start::<Greeting>(name.clone()).key(name).await?;
                run.signal(WORD, "Hello".to_owned()).await?;
                run.result().await
            }
        });
        join(held, try_join_all(others)).await
    };
    let mut answers = None;
    worker(store, 1).run_until(async { answers = Some(talk.await) }).await.unwrap();
    // Then only the start whose key is held is refused
    let (held, others) = answers.unwrap();
    assert!(held.as_ref().is_err_and(|error| error.is_key_held()), "{held:?}");
    let expected: Vec<_> = (0..50).map(|number| format!("Hello, Ada {number}!")).collect();
    assert_eq!(others.unwrap(), expected);
    holder.rollback().await.unwrap();
}

#[tokio::test]
async fn a_call_that_gets_no_connection_of_the_pool_names_its_size() {
    // Given a pool of one connection, and a transaction that holds a key for good
    let world = World::with(|builder| builder.pool_size(1).lock_timeout(Duration::from_secs(1))).await;
    let held = || [start(world.run(0), Some("held"), "Acme")];
    let mut holder = world.begin().await;
    world.store.submit_in(&mut holder, &held()).await.unwrap();
    // When so many starts wait for that key, one after the other for a second each, that the last wait for too long
    let starts = (0..10).map(|_| async { world.store.submit(&held()).await.unwrap_err() });
    let errors = join_all(starts).await;
    // Then those say what they waited for
    let unserved = errors.iter().filter(|error| matches!(error, StoreError::Unavailable { .. }));
    let unserved: Vec<_> = unserved.map(ToString::to_string).collect();
    assert!(!unserved.is_empty() && unserved.len() < errors.len(), "{errors:?}");
    assert!(unserved.iter().all(|text| text.contains("of 1 (`pool_size`), 1 are open")), "{unserved:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_too_few_connections_ends_with_an_error_that_says_what_it_needs() {
    let world = World::new().await;
    let (role, url) = limited_role(&world, 5).await;
    let store = PostgresStore::builder(&url).schema("flows").pool_size(1).connect().await.unwrap();
    let client = Client::new(store.clone());
    let refused = worker(&store, 2).run_until(std::future::pending()).await.unwrap_err().to_string();
    for words in
        ["needs at least 6 connections", "up to 8", "the role's connection limit is 5", "`processors`"]
    {
        assert!(refused.contains(words), "{refused}");
    }
    // A client needs fewer.
    client.list().await.unwrap();
    assert_eq!(store.queue("default", 4).await.unwrap().name, "default");
    drop((client, store));
    drop_role(&world, &role).await;
}
