//! The server stops or crashes, and starts again, while workers and clients are active.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows_pg_harness::Postgres;

use crate::env::PgEnv;
use crate::trials::{three_trials_complete, trials_during};
use crate::worker::start_worker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_and_crashes_of_the_server_use_up_no_attempt_and_fail_nothing() {
    let server = Arc::new(Postgres::start().unwrap());
    let env = PgEnv::on(server.create_database().unwrap()).await;
    let worker = start_worker(env.store.clone(), |worker| worker.lease_ttl(Duration::from_secs(2)));

    trials_during(&env, async {
        // Shorter than a lease, and longer; with shutdowns, and with crashes.
        for (kill, down) in [(false, 0), (true, 0), (true, 2500), (false, 2500), (true, 200)] {
            three_trials_complete(&env).await;
            let server = Arc::clone(&server);
            tokio::task::spawn_blocking(move || {
                if kill { server.kill() } else { server.stop() }.unwrap();
                // The duration of the outage.
                std::thread::sleep(Duration::from_millis(down));
                server.restart().unwrap();
            })
            .await
            .unwrap();
        }
    })
    .await;
    worker.stop().await;
}
