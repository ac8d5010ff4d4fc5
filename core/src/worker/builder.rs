//! The builder of a worker: its settings, their defaults, and the checks of their ranges. It must not know what a setting
//! is used for.

mod bounds;
mod definitions;
mod sharing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::data::limits;
use crate::data::name::Name;
use crate::error::Error;
use crate::host::{Host, program_written_at};
use crate::observe::metrics::Metrics;
use crate::observe::propagator::TracePropagator;
use crate::processor::memory::MemoryBudget;
use crate::processor::setup::ProcessorConfig;
use crate::store::Store;
use crate::worker::checks::{check, serve_queues};
use crate::worker::status::WorkerStatus;
use crate::worker::{Gauge, Worker, WorkerConfig};
use crate::workflow::registry::{Definitions, check_name};

/// Configures a worker. [`Worker::builder`] makes one; [`WorkerBuilder::build`] checks all settings and reports the first
/// problem.
pub struct WorkerBuilder {
    store: Arc<dyn Store>,
    definitions: Definitions,
    config: WorkerConfig,
    heartbeat_interval: Option<Duration>,
    processors: Option<usize>,
    generation: Option<u64>,
    problem: Option<Error>,
}

impl WorkerBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let config = WorkerConfig {
            queue: "default".to_owned(),
            queue_shards: None,
            one_queue: false,
            generation: 0,
            processors: 1,
            activities_max: limits::ACTIVITIES_MAX,
            activity_queues: Vec::new(),
            lease_ttl: limits::LEASE_TTL,
            heartbeat_interval: limits::HEARTBEAT_INTERVAL,
            shutdown_grace: limits::SHUTDOWN_GRACE,
            poll_warn: limits::POLL_WARN,
            processor: ProcessorConfig {
                worker: format!("worker-{}", std::process::id()),
                activity_queue: Name::default(),
                history_events_warn: limits::HISTORY_EVENTS_WARN,
                history_events_max: limits::HISTORY_EVENTS_MAX,
                deaths_before_suspicion: limits::DEATHS_BEFORE_SUSPICION,
                attempts_lost_max: limits::ATTEMPTS_LOST_MAX,
                memory: MemoryBudget::new(limits::MEMORY_MAX),
                metrics: Metrics::default(),
                outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
                page_bytes_max: limits::PAGE_BYTES_MAX,
                handover_grace: limits::HANDOVER_GRACE,
                horizon: 2 * limits::HEARTBEAT_INTERVAL,
            },
            host: None,
        };
        let definitions = Definitions::default();
        Self {
            store,
            definitions,
            config,
            heartbeat_interval: None,
            processors: None,
            generation: None,
            problem: None,
        }
    }

    /// Serves an activity queue: executes up to `slots` activities at a time that workflows send to it with
    /// [`queue`](crate::workflow::ActivityFuture::queue), as far as they are registered here. May be called once for each
    /// activity queue.
    ///
    /// Every worker serves the activity queue that has the name of its own [`queue`](Self::queue): activities that their
    /// own worker does not know, or that would wait there for a slot for 50 ms or more, are executed by any other worker that
    /// has them. A worker without workflows has no processors and owns no runs. If it names activity queues, it serves only
    /// these.
    ///
    /// [`build`](Self::build) refuses 0 slots, a queue that is given twice, a worker without activities, and a name that is
    /// empty, longer than 255 bytes, or contains a control character.
    /// See
    /// [`queue`](crate::workflow::ActivityFuture::queue) of an activity for an example.
    #[must_use]
    pub fn activity_queue(mut self, name: impl Into<String>, slots: usize) -> Self {
        self.config.activity_queues.push((Name::from(name.into()), Some(slots)));
        self
    }

    /// Has the children of all queues run in the worker's own [`queue`](Self::queue), whatever
    /// [queue](crate::workflow::ChildFuture::queue) their parents name: for tests, and for programs that are a single worker in
    /// development. All workers of the queue need the same setting. By default, a child runs in the queue that its parent names.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).one_queue().build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn one_queue(mut self) -> Self {
        self.config.one_queue = true;
        self
    }

    /// Continues the traces in which runs were started in the spans of their passes and attempts, such as with OpenTelemetry. What
    /// activities start by [`ActivityContext::client`](crate::activity::ActivityContext::client) continues the attempt's trace. By
    /// default there is none. See [`TracePropagator`] for an example.
    #[must_use]
    pub fn trace_propagator(mut self, propagator: impl TracePropagator) -> Self {
        self.definitions.propagator = Some(Arc::new(propagator));
        self
    }

    /// Sets the worker's name, which people see in logs and listings; by default `worker-` and the process id. Names need
    /// not be unique.
    ///
    /// [`build`](Self::build) refuses a name that is empty, longer than 255 bytes, or contains a control character.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).name("emails-1").build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.processor.worker = name.into();
        self
    }

    /// Sets how many processors the worker has, each on its own thread: 1 to 1,024, by default one per core. A processor
    /// uses one session of the store, and a second one while its reads and writes overlap; the heartbeat and the tasks use
    /// one each. With PostgreSQL, each session is a connection. A worker that has activities and no workflows has no
    /// processors by default.
    ///
    /// [`build`](Self::build) refuses a number out of that range.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).processors(4).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn processors(mut self, count: usize) -> Self {
        self.processors = Some(count);
        self
    }

    /// Sets how many activities and steps the worker executes at a time: at least 1, by default 1,000. Others wait, or
    /// are executed by [other workers](Self::activity_queue).
    ///
    /// [`build`](Self::build) refuses 0.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).activities_max(100).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn activities_max(mut self, count: usize) -> Self {
        self.config.activities_max = count;
        self
    }

    /// Sets how long a lease lasts after each renewal: 1 second to 100 years, by default 10 seconds. This is how long the
    /// runs of a crashed worker wait until another worker takes over, and at most a second longer.
    ///
    /// [`build`](Self::build) refuses a time out of that range.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # use std::time::Duration;
    /// let worker = Worker::builder(MemoryStore::new()).lease_ttl(Duration::from_secs(30)).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.config.lease_ttl = ttl;
        self
    }

    /// Sets the time between two heartbeats, which renew the worker's leases and find work that no notification announced.
    /// By default 2.5 seconds, or a quarter of [`lease_ttl`](Self::lease_ttl) if that is shorter.
    ///
    /// [`build`](Self::build) refuses zero, and more than a third of `lease_ttl`.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # use std::time::Duration;
    /// let worker = Worker::builder(MemoryStore::new()).heartbeat_interval(Duration::from_secs(1)).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = Some(interval);
        self
    }

    /// Sets how long a shutdown waits for running activities and steps: any time, zero included; by default 10 seconds. Other
    /// workers take the runs over meanwhile, and wait for the outcomes of these activities.
    /// After the grace, the last appends and the handover may take 5 more seconds.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # use std::time::Duration;
    /// let worker = Worker::builder(MemoryStore::new()).shutdown_grace(Duration::from_secs(60)).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.config.shutdown_grace = grace;
        self
    }

    /// Sets how long a shard that goes to another worker, because one joined, waits for its running steps: any time, zero
    /// included; by default 10 seconds. It starts no others meanwhile. Steps that run longer are cancelled here, and the next
    /// owner repeats them. Its running activities go on here, however long they take, and the next owner gets their outcomes.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # use std::time::Duration;
    /// let worker = Worker::builder(MemoryStore::new()).handover_grace(Duration::from_secs(30)).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn handover_grace(mut self, grace: Duration) -> Self {
        self.config.processor.handover_grace = grace;
        self
    }

    /// Sets how many deaths in a row of the workers that own a shard (`owners`, by default 3) bring its runs under suspicion:
    /// they are tried, and the one that kills its process is set aside, which its description says, until it is
    /// [resumed](crate::client::handle::RunHandle::resume). And how many processes one activity may take down (`attempts`, by
    /// default 5) before it fails: one that is under suspicion, or that is executed as a task. An `at_most_once` activity fails
    /// with the first.
    ///
    /// [`build`](Self::build) refuses 0, and more than 1,000.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).deaths_max(2, 3).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn deaths_max(mut self, owners: u32, attempts: u32) -> Self {
        self.config.processor.deaths_before_suspicion = owners;
        self.config.processor.attempts_lost_max = attempts;
        self
    }

    /// Sets how long one poll of a workflow may take before the log and the worker's [health](Worker::health) report it: any
    /// time, by default 5 seconds. After [`lease_ttl`](Self::lease_ttl), the worker abandons the thread of the poll and
    /// serves the other runs of that processor on a new thread.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # use std::time::Duration;
    /// let worker = Worker::builder(MemoryStore::new()).poll_warn(Duration::from_secs(1)).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn poll_warn(mut self, limit: Duration) -> Self {
        self.config.poll_warn = limit;
        self
    }

    /// Sets the [`Host`] that provides time, randomness, and task execution, for tests. By default the tokio runtime and the
    /// operating system do.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # use pgworkflows::host::SystemHost;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let worker = Worker::builder(MemoryStore::new()).host(Arc::new(SystemHost::current())).build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.config.host = Some(host);
        self
    }

    /// Builds the worker. Nothing is started, and the store is not asked yet.
    ///
    /// # Errors
    /// Returns an error that names the first problem: two workflows or two activities of one name, an invalid name, a
    /// setting out of its range, or an activity that a worker of this store cannot execute.
    ///
    /// # Examples
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let error = Worker::builder(MemoryStore::new()).processors(0).build().unwrap_err();
    /// assert!(error.to_string().contains("processors is 0; give 1 to 1024"));
    /// ```
    pub fn build(mut self) -> Result<Worker, Error> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let config = &mut self.config;
        check_name("queue name", &config.queue)?;
        check_name("worker name", &config.processor.worker)?;
        // Asked only if it is not set: the system takes a tenth of a millisecond to answer.
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let executes_only =
            !self.definitions.has_workflows() && self.definitions.activity_names().next().is_some();
        config.processors = self.processors.unwrap_or_else(|| if executes_only { 0 } else { cores() });
        let default = limits::HEARTBEAT_INTERVAL.min(config.lease_ttl / 4);
        config.heartbeat_interval = self.heartbeat_interval.unwrap_or(default);
        config.processor.horizon = 2 * config.heartbeat_interval;
        config.generation = self.generation.unwrap_or_else(program_written_at);
        check(config, self.processors)?;
        // What waits to be written takes at most a quarter of the budget, and what was read and waits for room an eighth.
        let each = config.processor.memory.max() / config.processors.max(1);
        config.processor.outbox_bytes_max = (each / 4).min(limits::OUTBOX_BYTES_MAX);
        config.processor.page_bytes_max = (each / 16).min(limits::PAGE_BYTES_MAX);
        serve_queues(config, &self.definitions)?;
        let gauges = vec![(); config.processors].into_iter().map(|()| Gauge::default()).collect();
        let status = WorkerStatus::new(&config.processor.worker, config.lease_ttl, config.processors);
        self.definitions.check_store(&*self.store)?;
        let definitions = Arc::new(self.definitions);
        Ok(Worker { config: self.config, definitions, store: self.store, gauges, status })
    }
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
