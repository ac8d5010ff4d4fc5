//! Requests inside the user's own transactions: all or nothing, and in the order of each client.

use pgworkflows::InTransaction;
use sqlx::Connection;

use crate::env::World;
use crate::wait::{PATIENCE, until};
use crate::worker::{Collect, NUMBER, Working};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_in_a_transaction_exists_if_and_when_that_commits() {
    let world = World::new().await;
    let worker = Working::start(world.store.clone(), |worker| worker);
    let mut connection = world.connection().await;
    world.execute("create table orders (id int)").await;

    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("insert into orders values (1)").execute(&mut *transaction).await.unwrap();
    let start = world.client.start::<Collect>(0).key("order 1");
    let lost = start.in_transaction(&mut transaction).await.unwrap();
    transaction.rollback().await.unwrap();

    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("insert into orders values (2)").execute(&mut *transaction).await.unwrap();
    let start = world.client.start::<Collect>(0).key("order 2");
    let run = start.in_transaction(&mut transaction).await.unwrap();
    assert!(run.describe().await.unwrap_err().is_unknown_run(), "nobody sees it before the commit");
    transaction.commit().await.unwrap();

    assert_eq!(run.result().timeout(PATIENCE).await.unwrap(), [0; 0]);
    assert!(lost.describe().await.unwrap_err().is_unknown_run());
    assert!(lost.result().await.unwrap_err().is_unknown_run());
    assert!(world.client.find::<Collect>("order 1").await.unwrap().is_none(), "its key is free again");
    let again = world.client.start::<Collect>(0).key("order 1").await.unwrap();
    assert!(!again.is_existing());
    assert_eq!(again.result().timeout(PATIENCE).await.unwrap(), [0; 0]);
    let log = world.log().await;
    log.check();
    assert_eq!(log.names(lost.run_id()), [""; 0]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_in_a_transaction_comes_if_and_when_that_commits() {
    let world = World::new().await;
    let worker = Working::start(world.store.clone(), |worker| worker);
    let run = world.client.start::<Collect>(3).await.unwrap();
    let mut connection = world.connection().await;

    let mut transaction = connection.begin().await.unwrap();
    run.signal(NUMBER, 1).in_transaction(&mut transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    run.signal(NUMBER, 2).in_transaction(&mut transaction).await.unwrap();
    run.signal(NUMBER, 3).in_transaction(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    run.signal(NUMBER, 4).await.unwrap();

    assert_eq!(run.result().timeout(PATIENCE).await.unwrap(), [2, 3, 4]);
    world.log().await.check();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_commits_late_under_an_early_number_is_neither_skipped_nor_overtaken() {
    const ROUNDS: u32 = 30;
    let world = World::new().await;
    let worker = Working::start(world.store.clone(), |worker| worker);
    let run = world.client.start::<Collect>(3 * ROUNDS).await.unwrap();
    let mut connection = world.connection().await;
    let mut expected = Vec::new();
    for round in 0..ROUNDS {
        let [early, other, next] = [0, 1, 2].map(|nth| 3 * round + nth);
        let mut transaction = connection.begin().await.unwrap();
        // It takes its number now and commits when a later number was read long ago.
        run.signal(NUMBER, early).in_transaction(&mut transaction).await.unwrap();
        run.signal(NUMBER, other).await.unwrap();
        until("the other client's signal is in the log", async || {
            (world.log().await.count("signal.received") as u32 == 3 * round + 1).then_some(())
        })
        .await;
        transaction.commit().await.unwrap();
        run.signal(NUMBER, next).await.unwrap();
        expected.extend([other, early, next]);
        until("the round is in the log", async || {
            (world.log().await.count("signal.received") as u32 == 3 * round + 3).then_some(())
        })
        .await;
    }

    assert_eq!(run.result().timeout(PATIENCE).await.unwrap(), expected);
    world.log().await.check();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_client_ever_sees_its_signals_swapped_whatever_commits_around_them() {
    const CLIENTS: u32 = 8;
    const EACH: u32 = 40;
    let world = World::new().await;
    let worker = Working::start(world.store.clone(), |worker| worker);
    let run = world.client.start::<Collect>(CLIENTS * EACH).await.unwrap();
    futures::future::join_all((0..CLIENTS).map(async |client| {
        let mut connection = world.connection().await;
        for number in 0..EACH {
            let number = client * 1000 + number;
            if number % 3 == client % 3 {
                run.signal(NUMBER, number).await.unwrap();
                continue;
            }
            let mut transaction = connection.begin().await.unwrap();
            run.signal(NUMBER, number).in_transaction(&mut transaction).await.unwrap();
            // Others overtake it here.
            sqlx::query("select pg_sleep(0.003)").execute(&mut *transaction).await.unwrap();
            transaction.commit().await.unwrap();
        }
    }))
    .await;

    let numbers = run.result().timeout(PATIENCE).await.unwrap();
    for client in 0..CLIENTS {
        let own: Vec<u32> = numbers.iter().copied().filter(|number| number / 1000 == client).collect();
        assert_eq!(own, (client * 1000..client * 1000 + EACH).collect::<Vec<_>>());
    }
    world.log().await.check();
    worker.stop().await;
}
