//! A worker: processors on threads of their own, one heart, one executor. It holds no state of a run.

mod builder;
mod driver;
mod executor;
mod heart;
mod threads;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use self::builder::WorkerBuilder;
use crate::error::Error;
use crate::host::{Host, SystemHost};
use crate::processor::ProcessorConfig;
use crate::registry::Definitions;
use crate::store::Store;

/// Executes the runs of a queue: workflows on threads of its own, activities on the tokio runtime of the
/// caller.
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
    live_runs: Vec<LiveRuns>,
}

/// What a builder sets.
#[derive(Clone, Debug)]
struct WorkerConfig {
    queue: String,
    queue_shards: u16,
    processors: usize,
    activities_max: usize,
    lease_ttl: Duration,
    tick_interval: Duration,
    shutdown_grace: Duration,
    poll_warn: Duration,
    processor: ProcessorConfig,
    host: Option<Arc<dyn Host>>,
}

/// How many runs a processor has in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveRuns(Arc<AtomicUsize>);

impl LiveRuns {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, count: usize) {
        self.0.store(count, Ordering::Relaxed);
    }
}

/// Tells how a worker is doing, from any thread, while it runs.
#[derive(Clone, Debug)]
pub struct WorkerMonitor {
    live_runs: Vec<LiveRuns>,
}

impl WorkerMonitor {
    /// How many runs the worker has in memory: parked ones are not among them.
    pub fn live_runs(&self) -> usize {
        self.live_runs.iter().map(LiveRuns::get).sum()
    }
}

impl Worker {
    /// Begins to put a worker together.
    pub fn builder(store: impl Store) -> WorkerBuilder {
        WorkerBuilder::new(Arc::new(store))
    }

    /// What to ask how the worker is doing, while it runs.
    pub fn monitor(&self) -> WorkerMonitor {
        WorkerMonitor { live_runs: self.live_runs.clone() }
    }

    /// Serves the queue until `shutdown` is ready, then hands everything over: no new work is begun, running
    /// activities may finish within the grace, and the shards are free for other workers at once.
    ///
    /// If the store goes away, the worker tries again until it is back. Dropping the future stops the worker
    /// as well, without a grace.
    ///
    /// # Errors
    /// Only what no waiting will cure: a refused queue, a database that is not as it must be, threads that
    /// cannot be started.
    ///
    /// # Panics
    /// Outside of a tokio runtime, unless the builder was given a host.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let host = self.config.host.clone().unwrap_or_else(|| Arc::new(SystemHost::current()));
        let queue = self.queue(&*host).await?;
        let threads = threads::Threads::start(threads::Parts::new(&self, host, queue))?;
        shutdown.await;
        threads.stop(self.config.shutdown_grace).await;
        Ok(())
    }

    /// As [`Worker::run_until`], but everything except activities runs on the calling thread, inside of the
    /// returned future. Dropping it is a crash: nothing is handed over. This is how a test that brings a
    /// [`Host`] of its own owns every moment of a worker.
    ///
    /// # Errors
    /// As [`Worker::run_until`].
    ///
    /// # Panics
    /// As [`Worker::run_until`].
    pub async fn run_on_this_thread(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let host = self.config.host.clone().unwrap_or_else(|| Arc::new(SystemHost::current()));
        let queue = self.queue(&*host).await?;
        threads::Parts::new(&self, host, queue).run(shutdown, self.config.shutdown_grace).await;
        Ok(())
    }

    /// Serves the queue for ever.
    ///
    /// # Errors
    /// As [`Worker::run_until`].
    pub async fn run(self) -> Result<(), Error> {
        self.run_until(std::future::pending()).await
    }

    async fn queue(&self, host: &dyn Host) -> Result<crate::store::Queue, Error> {
        let mut delays = driver::backoff(host);
        loop {
            match self.store.queue(&self.config.queue, self.config.queue_shards).await {
                Ok(queue) => return Ok(queue),
                Err(error @ crate::store::StoreError::Unavailable { .. }) => {
                    let delay = delays.next().unwrap_or(driver::BACKOFF_MAX);
                    tracing::warn!("the worker cannot begin, again in {delay:?}: {error}");
                    host.sleep(delay).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("config", &self.config).finish_non_exhaustive()
    }
}
