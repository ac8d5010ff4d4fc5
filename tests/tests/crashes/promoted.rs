//! A hot standby takes the place of its server, while a worker and clients are active.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows::PostgresStore;
use pgworkflows::store::{RunFilter, RunPage, Store, StoreError};
use pgworkflows_pg_harness::{Cut, Postgres, Proxy};
use pgworkflows_tests::{assert_contains, eventually};

use crate::env::PgEnv;
use crate::trials::{three_trials_complete, trials_during};
use crate::worker::start_worker;

/// How far the standby is behind its server: some commits.
const LAG: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_and_its_clients_go_on_by_themselves_after_a_standby_was_promoted() {
    // Given an address that leads to a server with a standby
    let server = Arc::new(Postgres::start().unwrap());
    let database = server.create_database().unwrap();
    let proxy = Proxy::new(database.url(), Duration::ZERO, |_| Cut::Pass).await.unwrap();
    let standby = Arc::new(blocking(&server, |server| server.start_standby(LAG)).await);
    let standby_url = database.url().replace(&server.port().to_string(), &standby.port().to_string());
    // And a worker and clients that know only the address
    let env = PgEnv::at(proxy.url(), database).await;
    let worker = start_worker(env.store.clone(), |worker| worker.lease_ttl(Duration::from_secs(2)));
    trials_during(&env, async {
        three_trials_complete(&env).await;
        // When the server dies, and the address leads to the standby before anybody has promoted it
        blocking(&server, Postgres::kill).await;
        proxy.redirect(&standby_url).unwrap();
        // Then whoever connects is told at once what to do, and nothing is read from a server that lags
        let connect = async || PostgresStore::connect(proxy.url()).await.map(drop).unwrap_err();
        let (filter, page) = (RunFilter::default(), RunPage { before: None, limit: 1 });
        let read = async || env.store.query().list(&filter, &page).await.map(drop).unwrap_err();
        // A connection to the server that died may break first.
        let is_told = |refused: StoreError| refused.to_string().contains("is a standby").then_some(refused);
        let connecting = eventually("a connection is refused", async || is_told(connect().await)).await;
        let reading = eventually("a read is refused", async || is_told(read().await)).await;
        for refused in [connecting, reading] {
            assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
            assert_contains(&refused, &["is a standby", "give the address of the primary", "promote"]);
        }
        // And after the promotion, all go on without a restart, and nothing is lost
        blocking(&standby, Postgres::promote).await;
    })
    .await;
    worker.stop().await;
}

/// Does something that takes a while with a server.
async fn blocking<T, E>(
    server: &Arc<Postgres>,
    work: impl FnOnce(&Postgres) -> Result<T, E> + Send + 'static,
) -> T
where
    T: Send + 'static,
    E: std::fmt::Debug + Send + 'static,
{
    let server = Arc::clone(server);
    tokio::task::spawn_blocking(move || work(&server)).await.unwrap().unwrap()
}
