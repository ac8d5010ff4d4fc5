//! The primary is put back to a state a few commits older, as by a failover to a standby that was behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use pgworkflows::RunHandle;
use pgworkflows_pg_harness::Postgres;
use sqlx::{Connection, PgConnection};

use crate::env::World;
use crate::log::Log;
use crate::wait::{PATIENCE, until};
use crate::worker::{Collect, NUMBER, Working};

/// How many runs there are, spread over all shards.
const RUNS: usize = 8;

/// A server of one's own with a running worker, runs that have taken their first number, and a copy of that state.
struct Restorable {
    server: Arc<Postgres>,
    world: World,
    worker: Working,
    runs: Vec<RunHandle<Collect>>,
    copied: Log,
}

impl Restorable {
    /// Runs that wait for so many numbers.
    async fn new(numbers: u32) -> Self {
        let server = Arc::new(Postgres::start().unwrap());
        let world = World::on(server.create_database().unwrap()).await;
        let worker = Working::start(world.store.clone(), |worker| worker.lease_ttl(Duration::from_secs(5)));
        let runs = (0..RUNS).map(async |_| world.client.start::<Collect>(numbers).await.unwrap());
        let runs = join_all(runs).await;
        let this = Self { server, world, worker, runs, copied: Log(Vec::new()) };
        this.send(0).await;
        this.received(1).await;
        let copied = this.world.log().await;
        this.blocking(|server| server.copy_data_dir_to(&server.scratch_dir().join("older")).unwrap()).await;
        Self { copied, ..this }
    }

    /// Puts the copy back.
    async fn restore(&self) {
        self.blocking(|server| server.restore_from(&server.scratch_dir().join("older")).unwrap()).await;
    }

    async fn blocking(&self, work: impl FnOnce(&Postgres) + Send + 'static) {
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || work(&server)).await.unwrap();
    }

    /// Sends every run a number.
    async fn send(&self, number: u32) {
        join_all(self.runs.iter().map(async |run| {
            until("the signal is accepted", async || {
                match run.signal(NUMBER, number).key(number.to_string()).await {
                    Ok(()) => Some(()),
                    Err(error) if error.is_unavailable() => None,
                    Err(error) => panic!("{error}"),
                }
            })
            .await;
        }))
        .await;
    }

    /// Waits until every run has logged so many numbers.
    async fn received(&self, count: usize) {
        until("every run has its numbers in the log", async || {
            let log = self.world.try_log().await?;
            self.runs
                .iter()
                .all(|run| {
                    log.names(run.run_id()).iter().filter(|name| **name == "signal.received").count() == count
                })
                .then_some(())
        })
        .await;
    }

    /// Asserts that the log goes on from the copy, event by event, and that nothing else was put in between.
    async fn check(&self) {
        let log = self.world.log().await;
        log.check();
        let now: BTreeMap<_, _> = log.0.iter().map(|event| ((&event.run, event.seq), event)).collect();
        for event in &self.copied.0 {
            assert_eq!(now.get(&(&event.run, event.seq)), Some(&event), "the copy's event has changed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_restored_to_an_older_state_is_noticed_and_runs_go_on_from_its_log() {
    let it = Restorable::new(4).await;
    // Commits that will never have been.
    it.send(10).await;
    it.received(2).await;
    it.send(11).await;
    it.received(3).await;
    it.restore().await;

    it.send(20).await;
    it.send(21).await;
    it.send(22).await;
    for run in &it.runs {
        let numbers = run.result().timeout(PATIENCE).await.unwrap();
        assert_eq!(numbers, [0, 20, 21, 22], "nothing of what was lost is left in memory");
    }
    it.check().await;
    it.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_is_noticed_by_a_worker_whose_runs_have_ended_since_the_copy() {
    let it = Restorable::new(2).await;
    it.send(10).await;
    for run in &it.runs {
        assert_eq!(run.result().timeout(PATIENCE).await.unwrap(), [0, 10]);
    }
    it.restore().await;

    it.send(20).await;
    until("the runs end anew", async || {
        (it.world.try_log().await?.count("run.completed") == RUNS).then_some(())
    })
    .await;
    // The client has been told of the end that never was; another one reads it anew.
    let other = pgworkflows::Client::new(it.world.store.clone());
    for run in &it.runs {
        let run = other.handle::<Collect>(run.run_id());
        assert_eq!(run.result().timeout(PATIENCE).await.unwrap(), [0, 20]);
    }
    it.check().await;
    it.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_under_a_number_that_was_read_before_the_restore_is_not_missed() {
    let it = Restorable::new(3).await;
    it.send(10).await;
    it.received(2).await;
    it.restore().await;

    // Numbers and transaction ids are given out again from the copy's on. The messages take the very numbers of
    // those that were lost, and then others take the transaction ids up to where the worker has read.
    let mut connection =
        until("the server answers", async || PgConnection::connect(it.world.url()).await.ok()).await;
    it.send(20).await;
    for _ in 0..2000 {
        sqlx::query("select pg_current_xact_id()").execute(&mut connection).await.unwrap();
    }
    it.received(2).await;
    it.send(21).await;
    for run in &it.runs {
        assert_eq!(run.result().timeout(PATIENCE).await.unwrap(), [0, 20, 21]);
    }
    it.check().await;
    it.worker.stop().await;
}
