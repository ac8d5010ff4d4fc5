//! A worker: processors on their own threads, one heartbeat, one executor. It must not hold the state of a run.

pub(crate) mod builder;
pub(crate) mod checks;
pub(crate) mod config;
pub(crate) mod parts;
pub(crate) mod processor_handle;
mod queue_lookups;
pub(crate) mod supervisor;
pub(crate) mod threads;
pub(crate) mod ticket;

pub(crate) mod child_starts;
pub(crate) mod driver;
pub(crate) mod environment;
pub(crate) mod executor;
pub(crate) mod handed_out;
pub(crate) mod input;
pub(crate) mod lease_loop;
pub(crate) mod requests;
pub(crate) mod sessions;
pub(crate) mod setbacks;
pub(crate) mod slots;
pub(crate) mod stopwatch;
pub(crate) mod tasks;

pub(crate) mod balance;
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
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, Semaphore, mpsc};

pub use self::builder::WorkerBuilder;
use self::config::WorkerConfig;
use self::executor::Executor;
pub use self::health::{Health, HealthReason};
use self::monitor::Gauge;
pub use self::monitor::WorkerMonitor;
use self::parts::Parts;
use self::slots::Slots;
pub use self::status::WorkerHealth;
use self::status::WorkerStatus;
use self::supervisor::Supervisor;
use self::tasks::input::TaskInput;
use crate::data::id::ShardId;
use crate::data::limits;
use crate::data::shards::Shards;
use crate::data::time::Timestamp;
use crate::error::Error;
use crate::guard::caught_in;
use crate::host::{Host, StoreClock, SystemHost};
pub use crate::observe::metrics::{Durations, Metric, MetricValue, WorkerMetrics};
use crate::store::error::StoreError;
use crate::store::{Queue, SessionsWanted, Store};
use crate::workflow::activity::Services;
use crate::workflow::child_ids::{ChildIds, OtherQueues};
use crate::workflow::current_executor::ExecutorSetter;
use crate::workflow::queues::KnownQueues;
use crate::workflow::registry::Definitions;

/// Executes the runs of one queue. Workflows run on the worker's own threads, activities and steps on the caller's tokio
/// runtime.
///
/// A panic in user code is caught: a panicking workflow stalls its run, a panicking activity fails its attempt. To log
/// where a panic happened, the first worker of a process installs a panic hook, which calls the hook installed before
/// it. If a later hook does not call this one, the log lacks the line numbers, and nothing else changes.
///
/// ```
/// use pgworkflows::{MemoryStore, Worker};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let worker = Worker::builder(MemoryStore::new()).queue("emails").build()?;
/// let shutdown = async { /* such as `tokio::signal::ctrl_c().await` */ };
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
    /// Returns a builder for a worker of this store, with the default settings and no workflows or activities.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).name("worker-1").processors(2).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn builder(store: impl Store) -> WorkerBuilder {
        WorkerBuilder::new(Arc::new(store))
    }

    /// Returns a handle that reads the worker's metrics from any thread while it runs.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).build()?;
    /// let monitor = worker.monitor();
    /// assert_eq!(monitor.live_runs(), 0);
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn monitor(&self) -> WorkerMonitor {
        let config = &self.config;
        let own_slots = config.activity_queues.iter().filter_map(|(_, slots)| *slots);
        WorkerMonitor {
            worker: config.processor.worker.clone(),
            queue: config.queue.clone(),
            slots: config.activities_max + own_slots.sum::<usize>(),
            metrics: config.processor.metrics.clone(),
            gauges: self.gauges.clone(),
            memory: config.processor.memory.clone(),
        }
    }

    /// Returns a handle that reports the worker's health before, during, and after its run: for a readiness probe.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # use pgworkflows::worker::Health;
    /// let worker = Worker::builder(MemoryStore::new()).build()?;
    /// let health = worker.health();
    /// assert_eq!(health.check(), Health::Starting);
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn health(&self) -> WorkerHealth {
        WorkerHealth(Arc::clone(&self.status))
    }

    /// Serves the queue until `shutdown` completes, then hands over: the worker begins no new work, gives running
    /// activities the [grace](WorkerBuilder::shutdown_grace) to finish, and releases its shards to other workers at once.
    /// A shutdown takes at most the grace and 5 more seconds, whatever the store or a workflow does. Shards that are not
    /// released by then become free when their lease expires, and the log names them. A thread whose workflow never
    /// yields is left behind.
    ///
    /// The worker reconnects to an unreachable store with backoff, without limit. After a panic in a store or in the
    /// engine, only the affected processor loses its lease, and it recovers under a new one. If a workflow does not yield
    /// for a whole lease, another thread replaces the one that it blocks.
    ///
    /// Dropping the future stops the worker too, without a grace.
    ///
    /// # Errors
    /// Returns an error for problems that retries cannot fix. At the start: a refused queue, a database with a missing or
    /// wrong schema or too few connections, or a thread that cannot be started. Later, after a handover, if
    /// [`Error::is_gave_up`]:
    /// - a processor or the heartbeat failed ten times in a row, over at least half a minute, because the store answered
    ///   with corrupt data or because of a panic;
    /// - workflows that never yield blocked all of its threads, after four of them were replaced.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime, unless the builder was given a host.
    ///
    /// # Examples
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let worker = Worker::builder(MemoryStore::new()).build()?;
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let serving = tokio::spawn(worker.run_until(async { drop(stopped.await) }));
    /// drop(stop);
    /// serving.await.expect("the task did not panic")?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        self.work(shutdown, |_, job| threads::on_own_thread(job)).await
    }

    /// Serves the queue while this future is under way, then hands over as [`run_until`](Self::run_until) does, and returns what
    /// the future returned: for a program that uses the runs of its own worker, such as an example, a test or a tool. The future
    /// is polled in the calling task, from the beginning on: what it starts waits until the worker is there.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[workflow(name = "greeting")]
    /// async fn greeting(_ctx: Context, name: String) -> WorkflowResult<String> {
    ///     Ok(format!("Hello, {name}!"))
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let store = pgworkflows::MemoryStore::new();
    /// let client = Client::new(store.clone());
    /// let worker = Worker::builder(store).workflow::<greeting>().build()?;
    /// let greet = async { client.start::<greeting>("Ada".to_owned()).await?.result().await };
    /// // The first `?` is for what the worker, and the second for what the future may return.
    /// assert_eq!(worker.run_while(greet).await??, "Hello, Ada!");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Worker::run_until`]. The future has not ended then, and is dropped.
    ///
    /// # Panics
    /// As [`Worker::run_until`].
    pub async fn run_while<T>(self, future: impl Future<Output = T>) -> Result<T, Error> {
        let mut output = None;
        self.run_until(async { output = Some(future.await) }).await?;
        Ok(output.expect("a worker ends without an error only when it is told to"))
    }

    /// Like [`Worker::run_until`], but runs everything except activities and steps on the calling thread, inside the
    /// returned future. A workflow that never yields blocks all of it. Dropping the future is a crash: nothing is handed
    /// over. With it, a test that brings its own [`Host`] controls every step of a worker.
    ///
    /// # Errors
    /// As [`Worker::run_until`].
    ///
    /// # Panics
    /// As [`Worker::run_until`].
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let worker = Worker::builder(MemoryStore::new()).processors(1).build()?;
    /// worker.run_on_this_thread(tokio::time::sleep(Duration::from_millis(10))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_on_this_thread(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        self.work(shutdown, threads::on_this_thread).await
    }

    /// Serves the queue forever: returns only with an error.
    ///
    /// # Errors
    /// As [`Worker::run_until`].
    ///
    /// # Panics
    /// As [`Worker::run_until`].
    ///
    /// # Examples
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let worker = Worker::builder(MemoryStore::new()).build()?;
    /// // Runs beside the rest of the program. Aborting the task stops the worker.
    /// let serving = tokio::spawn(worker.run());
    /// serving.abort();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(self) -> Result<(), Error> {
        self.run_until(std::future::pending()).await
    }

    /// Serves the queue; `launch` starts each part.
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
        let _running = self.status.begin(&host);
        let opened = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            opened = self.open(&*host) => opened?,
        };
        let (tasks, task_mailbox) = mpsc::unbounded_channel();
        let (worker, processors) = (self.config.processor.worker.clone(), self.config.processors);
        let (queue_name, shards) = (self.config.queue.clone(), opened.queue.shard_count);
        let parts = self.parts(&host, opened, tasks);
        tracing::info!(%worker, queue = %queue_name, shards, processors, "the worker has started");
        let served = Supervisor::start(parts, task_mailbox, |job| launch(&*host, job))?.run(shutdown).await;
        tracing::info!(%worker, queue = %queue_name, "the worker has stopped");
        served
    }

    fn parts(
        &self,
        host: &Arc<dyn Host>,
        Opened { queue, queues }: Opened,
        tasks: mpsc::UnboundedSender<TaskInput>,
    ) -> Parts {
        let queues = Arc::new(KnownQueues::of(&queues));
        let others =
            if self.config.one_queue { OtherQueues::Own } else { OtherQueues::Known(Arc::clone(&queues)) };
        let clock = Arc::new(StoreClock::default());
        if self.config.processors > 0 {
            clock.answered(queue.now, &**host);
        }
        let freed = Arc::new(Notify::new());
        let slots = Slots::new(self.config.activities_max, Arc::clone(&freed));
        let task_executor = ExecutorSetter::default();
        let memory = self.config.processor.memory.clone();
        let current = task_executor.current();
        let services = Services {
            host: Arc::clone(host),
            clock: Arc::clone(&clock),
            store: Arc::clone(&self.store),
            worker: self.config.processor.worker.clone(),
            metrics: self.config.processor.metrics.clone(),
            propagator: self.definitions.propagator.clone(),
            payload_bytes_max: self.definitions.payload_bytes_max,
            client: OnceLock::new(),
        };
        let executor = Executor::new(services, slots, memory, current);
        Parts {
            host: Arc::clone(host),
            status: Arc::clone(&self.status),
            config: self.config.clone(),
            store: Arc::clone(&self.store),
            clock,
            executor,
            definitions: Arc::clone(&self.definitions),
            child_ids: Shards::new(queue.first_shard, queue.shard_count)
                .map_or_else(|_| ChildIds::default(), |own| ChildIds::Among(own, others)),
            queues,
            gauges: self.gauges.clone(),
            queue,
            freed,
            tasks,
            task_executor,
            trials: Arc::new(Semaphore::new(1)),
            beat: Arc::default(),
        }
    }

    /// Checks that the store has sessions left for this worker, opens its queue, and asks for the others.
    async fn prepare_store(&self) -> Result<Opened, StoreError> {
        self.store.check_room(sessions(self.config.processors)).await?;
        if self.config.processors == 0 {
            // It owns no shards, so it neither needs the queue nor decides how many shards the queue gets.
            let (name, first_shard) = (self.config.queue.clone(), ShardId::FIRST);
            let queue = Queue { name, first_shard, shard_count: 0, now: Timestamp::MIN };
            return Ok(Opened { queue, queues: Vec::new() });
        }
        let wanted = self.config.queue_shards;
        let queue = self.store.queue(&self.config.queue, wanted.unwrap_or(limits::QUEUE_SHARDS)).await?;
        queue.check_shards(wanted)?;
        Ok(Opened { queue, queues: self.store.query().queues().await? })
    }

    async fn open(&self, host: &dyn Host) -> Result<Opened, Error> {
        let mut delays = backoff::backoff(host);
        loop {
            let asked = caught_in(self.status.queue.watch(host, 0, self.prepare_store())).await;
            match asked.map_err(|panicked| Error::gave_up(format!("the worker cannot begin: {panicked}")))? {
                Ok(opened) => return Ok(opened),
                Err(StoreError::Unavailable { .. } | StoreError::Held { .. }) => {
                    host.sleep(delays.next().unwrap_or(backoff::BACKOFF_MAX)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The queue of a worker, and all that there were when it began.
struct Opened {
    queue: Queue,
    queues: Vec<Queue>,
}

/// How many sessions a worker opens: as few as it can work with, and as many as it uses under load.
fn sessions(processors: usize) -> SessionsWanted {
    // One for the tasks, one for the heartbeat of the processors, and one or two for each processor.
    let heartbeat = usize::from(processors > 0);
    SessionsWanted { least: processors + heartbeat + 1, most: 2 * processors + heartbeat + 1 }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("config", &self.config).finish_non_exhaustive()
    }
}
