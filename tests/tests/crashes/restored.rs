//! The primary is restored to a state that is a few commits older, as by a failover to a lagging standby.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use pgworkflows::RunHandle;
use pgworkflows_pg_harness::Postgres;
use pgworkflows_tests::{DEADLINE, RunningWorker, eventually};
use sqlx::{Connection, PgConnection};

use crate::env::{PgEnv, answered};
use crate::log::Log;
use crate::worker::{Collect, NUMBER, start_worker};

/// How many runs there are, across all shards.
const RUNS: usize = 8;

/// A server with a running worker, runs that have received their first number, and a copy of that state.
struct Restorable {
    server: Arc<Postgres>,
    env: PgEnv,
    worker: RunningWorker,
    runs: Vec<RunHandle<Collect>>,
    copied: Log,
}

impl Restorable {
    /// Runs that wait for that many numbers.
    async fn new(numbers: u32) -> Self {
        let server = Arc::new(Postgres::start().unwrap());
        let env = PgEnv::on(server.create_database().unwrap()).await;
        let worker = start_worker(env.store.clone(), |worker| worker.lease_ttl(Duration::from_secs(5)));
        let runs = (0..RUNS).map(async |_| env.client.start::<Collect>(numbers).await.unwrap());
        let runs = join_all(runs).await;
        let this = Self { server, env, worker, runs, copied: Log(Vec::new()) };
        this.send(0).await;
        this.received(1).await;
        let copied = this.env.log().await;
        this.blocking(|server| server.copy_data_dir_to(&server.scratch_dir().join("older")).unwrap()).await;
        Self { copied, ..this }
    }

    /// Restores the copy.
    async fn restore(&self) {
        self.blocking(|server| server.restore_from(&server.scratch_dir().join("older")).unwrap()).await;
    }

    async fn blocking(&self, work: impl FnOnce(&Postgres) + Send + 'static) {
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || work(&server)).await.unwrap();
    }

    /// Sends a number to every run.
    async fn send(&self, number: u32) {
        join_all(self.runs.iter().map(async |run| {
            eventually("the signal is accepted", async || {
                answered(run.signal(NUMBER, number).key(number.to_string()).await)
            })
            .await;
        }))
        .await;
    }

    /// Waits until every run has logged that many numbers.
    async fn received(&self, count: usize) {
        eventually("every run has its numbers in the log", async || {
            let log = self.env.try_log().await?;
            self.runs
                .iter()
                .all(|run| {
                    log.names(run.run_id()).iter().filter(|name| **name == "signal.received").count() == count
                })
                .then_some(())
        })
        .await;
    }

    /// Asserts that the log continues the copy without a gap, and that no event of the copy has changed.
    async fn check(&self) {
        let log = self.env.log().await;
        log.check();
        let now: BTreeMap<_, _> = log.0.iter().map(|event| ((&event.run, event.seq), event)).collect();
        for event in &self.copied.0 {
            assert_eq!(now.get(&(&event.run, event.seq)), Some(&event), "the copy's event has changed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_of_an_older_state_is_noticed_and_runs_continue_from_its_log() {
    let restorable = Restorable::new(4).await;
    // Commits that the restore will lose.
    restorable.send(10).await;
    restorable.received(2).await;
    restorable.send(11).await;
    restorable.received(3).await;
    restorable.restore().await;

    restorable.send(20).await;
    restorable.send(21).await;
    restorable.send(22).await;
    for run in &restorable.runs {
        let numbers = run.result().timeout(DEADLINE).await.unwrap();
        assert_eq!(numbers, [0, 20, 21, 22], "lost numbers must not stay in memory");
    }
    restorable.check().await;
    restorable.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_is_noticed_by_a_worker_whose_runs_ended_after_the_copy() {
    let restorable = Restorable::new(2).await;
    restorable.send(10).await;
    for run in &restorable.runs {
        assert_eq!(run.result().timeout(DEADLINE).await.unwrap(), [0, 10]);
    }
    restorable.restore().await;

    restorable.send(20).await;
    eventually("the runs end again", async || {
        (restorable.env.try_log().await?.count("run.completed") == RUNS).then_some(())
    })
    .await;
    // This client was told of the end that was lost. Another client reads the new result.
    let other = pgworkflows::Client::new(restorable.env.store.clone());
    for run in &restorable.runs {
        let run = other.handle::<Collect>(run.run_id());
        assert_eq!(run.result().timeout(DEADLINE).await.unwrap(), [0, 20]);
    }
    restorable.check().await;
    restorable.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_with_a_number_that_was_read_before_the_restore_is_not_missed() {
    let restorable = Restorable::new(3).await;
    restorable.send(10).await;
    restorable.received(2).await;
    restorable.restore().await;

    // Numbers and transaction ids are issued again, beginning with those of the copy. The new messages get the numbers
    // of the lost messages, and other transactions get the ids up to where the worker has read.
    let mut connection =
        eventually("the server answers", async || PgConnection::connect(restorable.env.url()).await.ok())
            .await;
    restorable.send(20).await;
    for _ in 0..2000 {
        sqlx::query("select pg_current_xact_id()").execute(&mut connection).await.unwrap();
    }
    restorable.received(2).await;
    restorable.send(21).await;
    for run in &restorable.runs {
        assert_eq!(run.result().timeout(DEADLINE).await.unwrap(), [0, 20, 21]);
    }
    restorable.check().await;
    restorable.worker.stop().await;
}
