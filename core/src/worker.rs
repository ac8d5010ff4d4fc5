//! A worker: processors on threads of their own, one heart, one executor. It holds no state of a run.

mod backoff;
mod builder;
mod driver;
mod executor;
mod heart;
mod input;
mod stopwatch;
mod threads;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

pub use self::builder::WorkerBuilder;
use crate::error::Error;
use crate::host::{Host, SystemHost};
use crate::processor::ProcessorConfig;
use crate::registry::Definitions;
use crate::store::Store;
use crate::time::Timestamp;

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
    gauges: Vec<Gauge>,
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

/// What a processor shows of itself to other threads.
#[derive(Clone, Debug)]
pub(crate) struct Gauge {
    live_runs: Arc<AtomicUsize>,
    /// In microseconds since 1970; `i64::MAX` if there is none.
    next_deadline: Arc<AtomicI64>,
}

impl Gauge {
    fn live_runs(&self) -> usize {
        self.live_runs.load(Ordering::Relaxed)
    }

    fn set(&self, live_runs: usize, next_deadline: Option<Timestamp>) {
        self.live_runs.store(live_runs, Ordering::Relaxed);
        self.next_deadline.store(next_deadline.map_or(i64::MAX, Timestamp::as_micros), Ordering::Relaxed);
    }
}

impl Default for Gauge {
    fn default() -> Self {
        Self { live_runs: Arc::default(), next_deadline: Arc::new(AtomicI64::new(i64::MAX)) }
    }
}

/// Tells how a worker is doing, from any thread, while it runs.
#[derive(Clone, Debug)]
pub struct WorkerMonitor {
    gauges: Vec<Gauge>,
}

impl WorkerMonitor {
    /// How many runs the worker has in memory: parked ones are not among them.
    pub fn live_runs(&self) -> usize {
        self.gauges.iter().map(Gauge::live_runs).sum()
    }

    /// The earliest deadline of the runs that the worker has in memory, by the store's clock.
    pub fn next_deadline(&self) -> Option<chrono::DateTime<chrono::Utc>> {
        let deadlines = self.gauges.iter().map(|gauge| gauge.next_deadline.load(Ordering::Relaxed));
        let next = deadlines.min().filter(|micros| *micros < i64::MAX);
        next.map(|micros| Timestamp::from_micros(micros).into())
    }
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
        let mut delays = backoff::backoff(host);
        loop {
            match self.store.queue(&self.config.queue, self.config.queue_shards).await {
                Ok(queue) => return Ok(queue),
                Err(error @ crate::store::StoreError::Unavailable { .. }) => {
                    let delay = delays.next().unwrap_or(backoff::BACKOFF_MAX);
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
