//! A worker: processors on threads of their own, one heartbeat, one executor. It holds no state of a run.

pub(crate) mod builder;
pub(crate) mod config;
pub(crate) mod parts;
pub(crate) mod processor_handle;
pub(crate) mod supervisor;
pub(crate) mod threads;

pub(crate) mod driver;
pub(crate) mod environment;
pub(crate) mod executor;
pub(crate) mod input;
pub(crate) mod lease_loop;
pub(crate) mod requests;
pub(crate) mod sessions;
pub(crate) mod setbacks;
pub(crate) mod stopwatch;

pub(crate) mod heartbeat;
pub(crate) mod watchdog;

pub(crate) mod backoff;
pub(crate) mod health;
pub(crate) mod monitor;
pub(crate) mod request_watch;
pub(crate) mod status;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

pub use self::builder::WorkerBuilder;
use self::config::WorkerConfig;
use self::executor::Executor;
pub use self::health::{Health, HealthReason};
use self::monitor::Gauge;
pub use self::monitor::WorkerMonitor;
use self::parts::Parts;
pub use self::status::WorkerHealth;
use self::status::WorkerStatus;
use self::supervisor::Supervisor;
use crate::error::Error;
use crate::guard::caught_in;
use crate::host::{Host, StoreClock, SystemHost};
use crate::store::error::StoreError;
use crate::store::{Queue, SessionsWanted, Store};
use crate::workflow::registry::Definitions;

/// Executes the runs of a queue: workflows on threads of its own, activities on the tokio runtime of the
/// caller.
///
/// A panic of users' code is caught: it stalls a run, or fails an attempt. So that its line can be told, a panic hook is
/// set when such code runs for the first time; it notes the line and calls the hook that was set before. If you set one
/// later that does not call the one before it, the lines are missing, and nothing else.
///
/// ```no_run
/// # use pgworkflows::prelude::*;
/// # async fn example<S: pgworkflows::store::Store>(
/// #     store: S, greet: impl Activity, shutdown: impl Future<Output = ()>,
/// # ) -> Result<(), pgworkflows::Error> {
/// let worker = pgworkflows::Worker::builder(store).activity(greet).build()?;
/// worker.run_until(shutdown).await?;
/// # Ok(())
/// # }
/// ```
pub struct Worker {
    config: WorkerConfig,
    definitions: Arc<Definitions>,
    store: Arc<dyn Store>,
    gauges: Vec<Gauge>,
    status: Arc<WorkerStatus>,
}

impl Worker {
    /// Begins to put a worker together.
    pub fn builder(store: impl Store) -> WorkerBuilder {
        WorkerBuilder::new(Arc::new(store))
    }

    /// What to ask how the worker is doing, while it runs.
    pub fn monitor(&self) -> WorkerMonitor {
        WorkerMonitor { gauges: self.gauges.clone() }
    }

    /// What to ask whether the worker is well, before it runs, while it does, and afterwards: for a readiness probe.
    pub fn health(&self) -> WorkerHealth {
        WorkerHealth(Arc::clone(&self.status))
    }

    /// Serves the queue until `shutdown` is ready, then hands everything over: no new work is begun, running
    /// activities may finish within the [grace](WorkerBuilder::shutdown_grace), and the shards are free for other
    /// workers at once. That takes the grace and 5 seconds more at most, whatever the store or a workflow does: what is not
    /// handed over by then is free when its lease expires, and the log names it. A thread whose workflow never yields is
    /// left behind.
    ///
    /// If the store goes away, the worker tries again until it is back. A panic on one of its threads, be it a store's or
    /// the engine's own, costs the lease of that processor alone, which begins anew under another. A workflow that does
    /// not yield for as long as a lease lasts keeps its thread, and another serves in that one's place.
    ///
    /// So that the log can tell where a panic was, the first worker of a process adds a panic hook, which calls the one
    /// that was there. Dropping the future stops the worker as well, without a grace.
    ///
    /// # Errors
    /// Only what no waiting will cure: a refused queue, a database that is not as it must be or has too few connections,
    /// threads that cannot be started. Later on, what a processor meets ten times in a row, over half a
    /// minute at least: a store that answers what cannot be, or a panic. Or workflows that took all of its threads, after
    /// four were replaced. Everything else is handed over before; see [`Error::is_gave_up`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, unless the builder was given a host.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        self.work(shutdown, |_, job| threads::on_a_thread(job)).await
    }

    /// As [`Worker::run_until`], but everything except activities runs on the calling thread, inside of the
    /// returned future, so that a workflow which never yields stops all of it. Dropping it is a crash: nothing is handed
    /// over. This is how a test that brings a [`Host`] of its own owns every moment of a worker.
    ///
    /// # Errors
    /// As [`Worker::run_until`].
    ///
    /// # Panics
    /// As [`Worker::run_until`].
    pub async fn run_on_this_thread(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        self.work(shutdown, threads::right_here).await
    }

    /// Serves the queue for ever.
    ///
    /// # Errors
    /// As [`Worker::run_until`].
    pub async fn run(self) -> Result<(), Error> {
        self.run_until(std::future::pending()).await
    }

    /// Serves, with parts that are started by `launch`.
    async fn work<F>(
        self,
        shutdown: impl Future<Output = ()>,
        mut launch: impl FnMut(&dyn Host, threads::Job) -> Result<F, Error>,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>> + Unpin,
    {
        let mut shutdown = pin!(shutdown);
        let host = self.config.host.clone().unwrap_or_else(|| Arc::new(SystemHost::current()));
        let _begun = self.status.begin(&host);
        let queue = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            queue = self.queue(&*host) => queue?,
        };
        let (worker, processors) = (self.config.processor.worker.clone(), self.config.processors);
        let (queue_name, shards) = (self.config.queue.clone(), queue.shard_count);
        let parts = self.parts(&host, queue);
        tracing::info!(%worker, queue = %queue_name, shards, processors, "the worker has started");
        let ended = Supervisor::start(parts, |job| launch(&*host, job))?.work(shutdown).await;
        tracing::info!(%worker, queue = %queue_name, "the worker has stopped");
        ended
    }

    fn parts(&self, host: &Arc<dyn Host>, queue: Queue) -> Parts {
        let clock = Arc::new(StoreClock::default());
        clock.answered(queue.now, &**host);
        let executor = Executor::new(Arc::clone(host), Arc::clone(&clock), self.config.activities_max);
        Parts {
            host: Arc::clone(host),
            status: Arc::clone(&self.status),
            config: self.config.clone(),
            store: Arc::clone(&self.store),
            clock,
            executor,
            definitions: Arc::clone(&self.definitions),
            gauges: self.gauges.clone(),
            queue,
            trials: Arc::new(Semaphore::new(1)),
        }
    }

    /// Finds out whether there is room for the worker before it begins, and opens its queue.
    async fn prepare_store(&self) -> Result<Queue, StoreError> {
        self.store.check_room(sessions(self.config.processors)).await?;
        self.store.queue(&self.config.queue, self.config.queue_shards).await
    }

    async fn queue(&self, host: &dyn Host) -> Result<Queue, Error> {
        let mut delays = backoff::backoff(host);
        loop {
            let asked = caught_in(self.status.queue.watch(host, 0, self.prepare_store())).await;
            match asked.map_err(|panicked| Error::gave_up(format!("the worker cannot begin: {panicked}")))? {
                Ok(queue) => return Ok(queue),
                Err(StoreError::Unavailable { .. } | StoreError::Held { .. }) => {
                    host.sleep(delays.next().unwrap_or(backoff::BACKOFF_MAX)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// How many sessions a worker opens: those that it needs, and those that it uses under load.
fn sessions(processors: usize) -> SessionsWanted {
    // One for the heartbeat, and one or two per processor.
    SessionsWanted { least: processors + 1, most: 2 * processors + 1 }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("config", &self.config).finish_non_exhaustive()
    }
}
