//! Hints between processes: which changes are notified, and what a lost connection costs.

use std::time::Duration;

use pgworkflows_core::store::{Hint, HintKind, Store};
use pgworkflows_postgres::PostgresStore;
use sqlx::Connection;
use tokio::sync::broadcast::Receiver;

use crate::logs;
use crate::support::*;

/// Waits for a hint, and ignores others before it.
async fn expect(hints: &mut Receiver<Hint>, expected: Hint) {
    let wait = async { while hints.recv().await.unwrap() != expected {} };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "{expected:?} did not arrive");
}

/// A second process, which listens to mail.
async fn listener(world: &World) -> (PostgresStore, Receiver<Hint>) {
    let other = PostgresStore::connect(world.database.url()).await.unwrap();
    let mut hints = other.hints(HintKind::Mail);
    // The notifier sends this once it listens.
    expect(&mut hints, Hint::Missed).await;
    (other, hints)
}

#[tokio::test]
async fn other_processes_are_notified_of_mail_closed_runs_sent_messages_and_releases() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let (listener, mut mail) = listener(&world).await;
    let (mut notices, mut released) = (listener.hints(HintKind::Notice), listener.hints(HintKind::Released));
    let run = world.run(2);
    world.submit(start(run, None, "Acme")).await;
    expect(&mut mail, Hint::Mail(run.shard())).await;
    let other = world.run(3);
    let batch = writer.batch().event(run, 1).closed(run).sent(note(other, "hello"));
    writer.append(batch).await.unwrap();
    expect(&mut notices, Hint::Notice(run.shard())).await;
    expect(&mut mail, Hint::Mail(other.shard())).await;
    writer.release().await;
    expect(&mut released, Hint::Released).await;
}

#[tokio::test]
async fn a_commit_of_a_users_transaction_notifies_and_a_rollback_does_not() {
    let world = World::new().await;
    let (_other, mut hints) = listener(&world).await;
    let (one, other) = (world.run(1), world.run(2));
    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    world.store.submit_in(&mut transaction, &[start(one, None, "1")]).await.unwrap();
    transaction.rollback().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    world.store.submit_in(&mut transaction, &[start(other, None, "2")]).await.unwrap();
    transaction.commit().await.unwrap();
    let hint = tokio::time::timeout(Duration::from_secs(10), hints.recv()).await.unwrap().unwrap();
    assert_eq!(hint, Hint::Mail(other.shard()));
}

#[tokio::test]
async fn a_process_receives_its_own_hints_once() {
    let world = World::new().await;
    let mut hints = world.store.hints(HintKind::Mail);
    expect(&mut hints, Hint::Missed).await;
    let run = world.run(2);
    world.submit(start(run, None, "Acme")).await;
    assert_eq!(hints.try_recv().unwrap(), Hint::Mail(run.shard()));
    let echo = tokio::time::timeout(Duration::from_millis(200), hints.recv()).await;
    assert!(echo.is_err(), "{echo:?}");
}

/// A store of which the notifier cannot connect, so that only calls themselves notify.
async fn store_without_notifier(world: &World) -> PostgresStore {
    let builder = PostgresStore::builder(world.database.url()).listen_url("postgres://localhost:1/none");
    builder.connect().await.unwrap()
}

#[tokio::test]
async fn a_quiet_process_notifies_within_the_commit_that_it_tells_of() {
    let world = World::new().await;
    let (other, mut hints) = listener(&world).await;
    let mut notices = other.hints(HintKind::Notice);
    let store = store_without_notifier(&world).await;
    let run = world.run(2);
    store.submit(&[start(run, None, "Acme")]).await.unwrap();
    expect(&mut hints, Hint::Mail(run.shard())).await;
    let mut session = store.session().await.unwrap();
    let claimed = session.claim(&claim(None, TTL, 4)).await.unwrap();
    let mut writer = Writer::new(session, &claimed);
    // Quiet again, after the submission
    tokio::time::sleep(Duration::from_millis(20)).await;
    let batch = writer.batch().event(run, 1).closed(run);
    writer.append(batch).await.unwrap();
    expect(&mut notices, Hint::Notice(run.shard())).await;
}

#[tokio::test]
async fn a_commit_does_not_notify_while_another_one_does() {
    // Given a transaction that has notified, and is not committed yet
    let world = World::new().await;
    let (_other, mut hints) = listener(&world).await;
    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    let notify = "select pgworkflows.notify_if_free('nobody', '')";
    assert!(sqlx::query_scalar::<_, bool>(notify).fetch_one(&mut *transaction).await.unwrap());
    // When processes submit, one of which has a notifier
    let (silent, told) = (world.run(1), world.run(2));
    store_without_notifier(&world).await.submit(&[start(silent, None, "1")]).await.unwrap();
    world.submit(start(told, None, "2")).await;
    // Then neither waits for that transaction, and the notifier sends its hint afterwards
    let hint = tokio::time::timeout(Duration::from_secs(60), hints.recv()).await.unwrap().unwrap();
    assert_eq!(hint, Hint::Mail(told.shard()));
    transaction.rollback().await.unwrap();
}

#[tokio::test]
async fn a_listener_reconnects_and_reports_that_hints_may_have_been_missed() {
    let logs = logs::logs();
    let world = World::new().await;
    let (_other, mut hints) = listener(&world).await;
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(&mut world.connection().await)
    .await
    .unwrap();
    expect(&mut hints, Hint::Missed).await;
    let lost = ["WARN", "the connection for notifications was lost; reconnecting"];
    let warned = || !logs.with(&lost).is_empty();
    let wait = async {
        while !warned() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("a line says so");
    let run = world.run(1);
    // The first call may find that the pool's connections are dead.
    let start = [start(run, None, "Acme")];
    while world.store.submit(&start).await.is_err() {}
    expect(&mut hints, Hint::Mail(run.shard())).await;
}

#[tokio::test]
async fn without_notifications_nothing_listens_and_local_hints_still_arrive() {
    let world = World::with(|builder| builder.notifications(false)).await;
    let mut hints = world.store.hints(HintKind::Mail);
    let run = world.run(0);
    world.submit(start(run, None, "Acme")).await;
    assert_eq!(hints.recv().await.unwrap(), Hint::Mail(run.shard()));
    let listening: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and query ilike '%listen%'
         and pid <> pg_backend_pid()",
    )
    .fetch_one(&mut world.connection().await)
    .await
    .unwrap();
    assert_eq!(listening, 0);
}
