//! The proxy disturbs the network as it is told, and does nothing else.

use std::time::Duration;

use pgworkflows_pg_harness::{Cut, Database, Postgres, Proxy};
use sqlx::postgres::PgListener;
use sqlx::{Connection, PgConnection, raw_sql};

/// So long that only a broken proxy takes longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// So short that an answer may still come if nothing is broken: it makes a broken proxy visible, and no proxy slow.
const MOMENT: Duration = Duration::from_millis(300);

/// A database, and a proxy that cuts nothing.
async fn open_proxy() -> (Database, Proxy) {
    let database = Postgres::shared().create_database().unwrap();
    let proxy = Proxy::new(database.url(), Duration::ZERO, |_| Cut::Pass).await.unwrap();
    (database, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_network_delivers_after_the_silence_what_was_sent_in_it() {
    let (database, proxy) = open_proxy().await;
    let mut connection = PgConnection::connect(proxy.url()).await.unwrap();

    proxy.link().silence();
    let asked = tokio::spawn(async move { raw_sql("create table sent ()").execute(&mut connection).await });
    let connecting = tokio::time::timeout(MOMENT, PgConnection::connect(proxy.url())).await;
    assert!(connecting.is_err(), "it answered a new connection");
    assert!(!asked.is_finished(), "it answered an old connection");
    let mut direct = PgConnection::connect(database.url()).await.unwrap();
    assert!(raw_sql("select from sent").execute(&mut direct).await.is_err(), "the statement has arrived");

    proxy.link().resume();
    tokio::time::timeout(DEADLINE, asked).await.unwrap().unwrap().unwrap();
    raw_sql("select from sent").execute(&mut direct).await.unwrap();
    PgConnection::connect(proxy.url()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnecting_ends_open_connections_and_accepts_new_ones() {
    let (_database, proxy) = open_proxy().await;
    let mut connection = PgConnection::connect(proxy.url()).await.unwrap();
    connection.ping().await.unwrap();

    proxy.link().disconnect();
    // A connection ends a moment later.
    let ended = async { while connection.ping().await.is_ok() {} };
    tokio::time::timeout(DEADLINE, ended).await.unwrap();

    PgConnection::connect(proxy.url()).await.unwrap().ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_notification_is_counted_and_what_follows_arrives() {
    let (database, proxy) = open_proxy().await;
    let mut listener = PgListener::connect(proxy.url()).await.unwrap();
    listener.listen("news").await.unwrap();
    let mut direct = PgConnection::connect(database.url()).await.unwrap();

    proxy.link().lose_notifications(true);
    raw_sql("notify news, 'lost'").execute(&mut direct).await.unwrap();
    tokio::time::timeout(DEADLINE, async {
        while proxy.link().lost_notifications() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    proxy.link().lose_notifications(false);
    raw_sql("notify news, 'next'").execute(&mut direct).await.unwrap();

    let received = tokio::time::timeout(DEADLINE, listener.recv()).await.unwrap().unwrap();
    assert_eq!(received.payload(), "next");
    assert_eq!(proxy.link().lost_notifications(), 1);
}
