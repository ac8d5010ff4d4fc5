//! Requests inside of users' transactions: atomic, and in the order of each client.

use pgworkflows::InTransaction;
use pgworkflows_tests::{DEADLINE, logged};
use sqlx::Connection;

use crate::env::PgEnv;
use crate::worker::{Collect, NUMBER, start_worker};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_in_a_transaction_is_visible_after_its_commit_only() {
    let env = PgEnv::new().await;
    let worker = start_worker(env.store.clone(), |worker| worker);
    let mut connection = env.connection().await;
    env.execute("create table orders (id int)").await;

    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("insert into orders values (1)").execute(&mut *transaction).await.unwrap();
    let start = env.client.start::<Collect>(0).key("order 1");
    let lost = start.in_transaction(&mut transaction).await.unwrap();
    transaction.rollback().await.unwrap();

    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("insert into orders values (2)").execute(&mut *transaction).await.unwrap();
    let start = env.client.start::<Collect>(0).key("order 2");
    let run = start.in_transaction(&mut transaction).await.unwrap();
    assert!(run.describe().await.unwrap_err().is_unknown_run(), "it must not be visible before the commit");
    transaction.commit().await.unwrap();

    assert_eq!(run.result().timeout(DEADLINE).await.unwrap(), [0; 0]);
    assert!(lost.describe().await.unwrap_err().is_unknown_run());
    assert!(lost.result().await.unwrap_err().is_unknown_run());
    assert!(env.client.find::<Collect>("order 1").await.unwrap().is_none(), "its key is free again");
    let again = env.client.start::<Collect>(0).key("order 1").await.unwrap();
    assert!(!again.is_existing());
    assert_eq!(again.result().timeout(DEADLINE).await.unwrap(), [0; 0]);
    let log = env.log().await;
    log.check();
    assert_eq!(log.names(lost.run_id()), [""; 0]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signal_in_a_transaction_arrives_after_its_commit_only() {
    let env = PgEnv::new().await;
    let worker = start_worker(env.store.clone(), |worker| worker);
    let run = env.client.start::<Collect>(3).await.unwrap();
    let mut connection = env.connection().await;

    let mut transaction = connection.begin().await.unwrap();
    run.signal(NUMBER, 1).in_transaction(&mut transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    run.signal(NUMBER, 2).in_transaction(&mut transaction).await.unwrap();
    run.signal(NUMBER, 3).in_transaction(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    run.signal(NUMBER, 4).await.unwrap();

    assert_eq!(run.result().timeout(DEADLINE).await.unwrap(), [2, 3, 4]);
    env.log().await.check();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signal_that_commits_late_with_an_early_number_is_not_skipped() {
    const ROUNDS: usize = 30;
    let env = PgEnv::new().await;
    let worker = start_worker(env.store.clone(), |worker| worker);
    let run = env.client.start::<Collect>(3 * ROUNDS as u32).await.unwrap();
    let mut connection = env.connection().await;
    let mut expected = Vec::new();
    for round in 0..ROUNDS {
        let [early, other, next] = [0, 1, 2].map(|nth| (3 * round + nth) as u32);
        let mut transaction = connection.begin().await.unwrap();
        // It takes its number now, and commits after a later number was read.
        run.signal(NUMBER, early).in_transaction(&mut transaction).await.unwrap();
        run.signal(NUMBER, other).await.unwrap();
        logged(&run, "signal.received", 3 * round + 1).await;
        transaction.commit().await.unwrap();
        run.signal(NUMBER, next).await.unwrap();
        expected.extend([other, early, next]);
        logged(&run, "signal.received", 3 * round + 3).await;
    }

    assert_eq!(run.result().timeout(DEADLINE).await.unwrap(), expected);
    env.log().await.check();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn signals_of_one_client_stay_in_order_whatever_commits_in_between() {
    const CLIENTS: u32 = 8;
    const EACH: u32 = 40;
    let env = PgEnv::new().await;
    let worker = start_worker(env.store.clone(), |worker| worker);
    let run = env.client.start::<Collect>(CLIENTS * EACH).await.unwrap();
    futures::future::join_all((0..CLIENTS).map(async |client| {
        let mut connection = env.connection().await;
        for number in 0..EACH {
            let number = client * 1000 + number;
            if number % 3 == client % 3 {
                run.signal(NUMBER, number).await.unwrap();
                continue;
            }
            let mut transaction = connection.begin().await.unwrap();
            run.signal(NUMBER, number).in_transaction(&mut transaction).await.unwrap();
            // Signals of others overtake it here.
            sqlx::query("select pg_sleep(0.003)").execute(&mut *transaction).await.unwrap();
            transaction.commit().await.unwrap();
        }
    }))
    .await;

    let numbers = run.result().timeout(DEADLINE).await.unwrap();
    for client in 0..CLIENTS {
        let own: Vec<u32> = numbers.iter().copied().filter(|number| number / 1000 == client).collect();
        assert_eq!(own, (client * 1000..client * 1000 + EACH).collect::<Vec<_>>());
    }
    env.log().await.check();
    worker.stop().await;
}
