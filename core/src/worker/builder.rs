//! How a worker is put together, and what is refused there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::data::limits;
use crate::error::Error;
use crate::host::Host;
use crate::processor::setup::ProcessorConfig;
use crate::store::Store;
use crate::worker::status::WorkerStatus;
use crate::worker::{Gauge, Worker, WorkerConfig};
use crate::workflow::Workflow;
use crate::workflow::activity::Activity;
use crate::workflow::registry::{Definitions, check_name};

/// Puts a worker together. What is wrong is reported by [`WorkerBuilder::build`].
pub struct WorkerBuilder {
    store: Arc<dyn Store>,
    definitions: Definitions,
    config: WorkerConfig,
    tick_interval: Option<Duration>,
    processors: Option<usize>,
    problem: Option<Error>,
}

impl WorkerBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let config = WorkerConfig {
            queue: "default".to_owned(),
            queue_shards: limits::QUEUE_SHARDS,
            processors: 1,
            activities_max: limits::ACTIVITIES_MAX,
            lease_ttl: limits::LEASE_TTL,
            tick_interval: limits::TICK_INTERVAL,
            shutdown_grace: limits::SHUTDOWN_GRACE,
            poll_warn: limits::POLL_WARN,
            processor: ProcessorConfig {
                worker: format!("worker-{}", std::process::id()),
                history_events_warn: limits::HISTORY_EVENTS_WARN,
                history_events_max: limits::HISTORY_EVENTS_MAX,
                runs_max: limits::LIVE_RUNS_MAX,
                horizon: 2 * limits::TICK_INTERVAL,
            },
            host: None,
        };
        let definitions = Definitions::default();
        Self { store, definitions, config, tick_interval: None, processors: None, problem: None }
    }

    /// Registers a workflow.
    #[must_use]
    pub fn workflow<W: Workflow>(mut self) -> Self {
        if let Err(problem) = self.definitions.workflow::<W>() {
            self.problem.get_or_insert(problem);
        }
        self
    }

    /// Registers an activity.
    #[must_use]
    pub fn activity<A: Activity>(mut self, activity: A) -> Self {
        if let Err(problem) = self.definitions.activity(activity) {
            self.problem.get_or_insert(problem);
        }
        self
    }

    /// The queue to serve; `default` by default.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.config.queue = name.into();
        self
    }

    /// How many shards the queue gets if this worker creates it: 1 to 4096, by default 64.
    #[must_use]
    pub fn queue_shards(mut self, shards: u16) -> Self {
        self.config.queue_shards = shards;
        self
    }

    /// The worker's name, for people; `worker-` and the process id by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.processor.worker = name.into();
        self
    }

    /// How many processors there are, each on a thread of its own; 1 to 1024, by default one per core. Each has a session
    /// of the store, and a second one while it reads and writes at the same time: with PostgreSQL, a connection each.
    #[must_use]
    pub fn processors(mut self, count: usize) -> Self {
        self.processors = Some(count);
        self
    }

    /// How many activities and steps are executed at a time; 1,000 by default.
    #[must_use]
    pub fn activities_max(mut self, count: usize) -> Self {
        self.config.activities_max = count;
        self
    }

    /// How long after its last sign of life a crashed worker's runs are taken over: 1 second at least, by
    /// default 15.
    #[must_use]
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.config.lease_ttl = ttl;
        self
    }

    /// How often the worker renews its leases and looks for what no notification told it of; by default every
    /// 2 seconds or four times per lease, whichever is more often.
    #[must_use]
    pub fn tick_interval(mut self, interval: Duration) -> Self {
        self.tick_interval = Some(interval);
        self
    }

    /// How long a shutdown waits for running activities; by default 10 seconds. What comes after it, the last appends and
    /// the hand-over, shares 5 seconds more.
    #[must_use]
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.config.shutdown_grace = grace;
        self
    }

    /// How long a poll of a workflow may take before the watchdog names it; by default 5 seconds. One that takes as long
    /// as [`lease_ttl`](Self::lease_ttl) loses its thread to it: another serves the processor's other runs.
    #[must_use]
    pub fn poll_warn(mut self, limit: Duration) -> Self {
        self.config.poll_warn = limit;
        self
    }

    /// How many bytes a payload may have; by default 2 MiB. One that has more stalls its run, or fails its
    /// activity.
    #[must_use]
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.definitions.payload_bytes_max = bytes;
        self
    }

    /// From how many events on a history is warned of (10,000 by default), and from how many on its run stalls
    /// (50,000 by default).
    #[must_use]
    pub fn history_events(mut self, warn: u32, max: u32) -> Self {
        self.config.processor.history_events_warn = warn;
        self.config.processor.history_events_max = max;
        self
    }

    /// The surroundings that the worker takes time, entropy and threads from, for tests.
    #[must_use]
    pub fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.config.host = Some(host);
        self
    }

    /// The worker.
    ///
    /// # Errors
    /// If two workflows or two activities have one name, or a setting is out of range: the error names it.
    pub fn build(mut self) -> Result<Worker, Error> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let config = &mut self.config;
        check_name("queue name", &config.queue)?;
        check_name("worker name", &config.processor.worker)?;
        // Asked only where nobody says it: the answer takes the system a tenth of a millisecond.
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        config.processors = self.processors.unwrap_or_else(cores);
        let default = limits::TICK_INTERVAL.min(config.lease_ttl / 4);
        config.tick_interval = self.tick_interval.unwrap_or(default);
        config.processor.horizon = 2 * config.tick_interval;
        check(config)?;
        let gauges = vec![(); config.processors].into_iter().map(|()| Gauge::default()).collect();
        let status = WorkerStatus::new(&config.processor.worker, config.lease_ttl, config.processors);
        let definitions = Arc::new(self.definitions);
        Ok(Worker { config: self.config, definitions, store: self.store, gauges, status })
    }
}

fn check(config: &WorkerConfig) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::invalid(message));
    if config.queue_shards == 0 || config.queue_shards > crate::data::id::ShardId::COUNT {
        return refuse(format!("queue_shards is {}; give 1 to 4096", config.queue_shards));
    }
    if config.processors == 0 || config.processors > 1024 {
        return refuse(format!("processors is {}; give 1 to 1024", config.processors));
    }
    if config.activities_max == 0 {
        return refuse("activities_max is 0; no activity would ever be executed, give at least 1".to_owned());
    }
    if config.lease_ttl < limits::LEASE_TTL_MIN || config.lease_ttl > limits::TIMEOUT_MAX {
        return refuse(format!(
            "lease_ttl is {:?}; give at least {:?}",
            config.lease_ttl,
            limits::LEASE_TTL_MIN
        ));
    }
    if config.tick_interval.is_zero() || config.tick_interval > config.lease_ttl / 3 {
        return refuse(format!(
            "tick_interval is {:?}; give more than zero and at most a third of lease_ttl, which is {:?}",
            config.tick_interval, config.lease_ttl
        ));
    }
    if config.processor.history_events_max == 0 {
        return refuse("the limit of history_events is 0; give at least 1".to_owned());
    }
    Ok(())
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
