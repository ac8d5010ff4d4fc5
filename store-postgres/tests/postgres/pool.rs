//! The connections that clients share.

use std::str::FromStr;
use std::time::Duration;

use pgworkflows_core::store::Store;
use pgworkflows_pg_harness::Postgres;
use pgworkflows_postgres::PostgresStore;
use sqlx::postgres::PgConnectOptions;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::*;

/// Longer than the store trusts an idle connection.
const IDLE: Duration = Duration::from_millis(1_100);

/// A network that can lose its connections without telling either side, as a firewall does.
struct Network {
    port: u16,
    lost: watch::Sender<()>,
}

impl Network {
    async fn in_front_of(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let lost = watch::Sender::new(());
        let losses = lost.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut loss = losses.subscribe();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => return,
                        _ = loss.changed() => {}
                    }
                    // Neither side learns of it.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { port, lost }
    }

    fn lose_connections(&self) {
        self.lost.send_replace(());
    }
}

#[tokio::test]
async fn a_connection_that_the_network_lost_silently_is_replaced() {
    for idle in [Duration::ZERO, IDLE] {
        // Given a store whose only connection is lost, just after a call or later
        let database = Postgres::shared().create_database().unwrap();
        let server = PgConnectOptions::from_str(database.url()).unwrap().get_port();
        let network = Network::in_front_of(server).await;
        let url = database.url().replace(&format!(":{server}/"), &format!(":{}/", network.port));
        let builder = PostgresStore::builder(&url).notifications(false).lock_timeout(LOCK_TIMEOUT);
        let store = builder.pool_size(1).call_timeout(Duration::from_secs(2)).connect().await.unwrap();
        store.queue("default", 4).await.unwrap();
        tokio::time::sleep(idle).await;
        network.lose_connections();
        // When it is used, then another connection takes its place
        let call = until_available(async || store.queue("default", 4).await);
        let answer = tokio::time::timeout(Duration::from_secs(60), call).await;
        assert!(answer.is_ok_and(|answer| answer.is_ok()), "idle for {idle:?}");
    }
}
