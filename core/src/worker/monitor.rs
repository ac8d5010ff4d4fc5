//! Metrics that a worker's processors publish to other threads: their live runs and their next deadline. It must not
//! know how they are computed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::data::time::Timestamp;
use crate::observe::metrics::{Metrics, WorkerMetrics};
use crate::processor::memory::MemoryBudget;

/// The metrics that one processor publishes. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Gauge {
    live_runs: Arc<AtomicUsize>,
    shards: Arc<AtomicUsize>,
    /// In microseconds since 1970; `i64::MAX` stands for none.
    next_deadline: Arc<AtomicI64>,
}

impl Gauge {
    pub(super) fn set(&self, shards: usize, live_runs: usize, next_deadline: Option<Timestamp>) {
        self.shards.store(shards, Ordering::Relaxed);
        self.live_runs.store(live_runs, Ordering::Relaxed);
        self.next_deadline.store(next_deadline.map_or(i64::MAX, Timestamp::as_micros), Ordering::Relaxed);
    }
}

impl Default for Gauge {
    fn default() -> Self {
        let (live_runs, shards) = (Arc::default(), Arc::default());
        Self { live_runs, shards, next_deadline: Arc::new(AtomicI64::new(i64::MAX)) }
    }
}

/// Reads a running worker's metrics, from any thread and without I/O. [`Worker::monitor`](super::Worker::monitor) returns
/// it; clones read the same worker.
#[derive(Clone, Debug)]
pub struct WorkerMonitor {
    pub(super) worker: String,
    pub(super) queue: String,
    pub(super) slots: usize,
    pub(super) metrics: Metrics,
    pub(super) gauges: Vec<Gauge>,
    pub(super) memory: MemoryBudget,
}

impl WorkerMonitor {
    /// All metrics of the worker at this moment. Counters begin at 0 when the worker is built.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).name("emails-1").build()?;
    /// let metrics = worker.monitor().metrics();
    /// assert_eq!((metrics.worker.as_str(), metrics.runs_started), ("emails-1", 0));
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn metrics(&self) -> WorkerMetrics {
        let shards = self.gauges.iter().map(|gauge| gauge.shards.load(Ordering::Relaxed)).sum::<usize>();
        WorkerMetrics {
            worker: self.worker.clone(),
            queue: self.queue.clone(),
            shards: shards as u64,
            live_runs: self.live_runs() as u64,
            memory_bytes: self.memory_bytes() as u64,
            memory_bytes_max: self.memory_max() as u64,
            slots: self.slots as u64,
            ..self.metrics.snapshot()
        }
    }

    /// The number of runs in the worker's memory. Parked runs are not among them, except for some seconds after a message to one with
    /// a long history, and while one waits for tasks; before and after the worker runs it is 0.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).build()?;
    /// assert_eq!(worker.monitor().live_runs(), 0);
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn live_runs(&self) -> usize {
        self.gauges.iter().map(|gauge| gauge.live_runs.load(Ordering::Relaxed)).sum()
    }

    /// About how many bytes the worker keeps in memory: what counts towards [`memory_max`](Self::memory_max). From half of that
    /// on, starts wait in the inbox.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).build()?;
    /// assert_eq!(worker.monitor().memory_bytes(), 0);
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn memory_bytes(&self) -> usize {
        self.memory.used()
    }

    /// The worker's budget of memory in bytes: see [`memory_max`](super::WorkerBuilder::memory_max) of its builder.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).memory_max(64 << 20).build()?;
    /// assert_eq!(worker.monitor().memory_max(), 64 << 20);
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn memory_max(&self) -> usize {
        self.memory.max()
    }

    /// The earliest deadline of the runs in the worker's memory, by the store's clock; `None` if they have none. Parked runs
    /// with a distant deadline do not count.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).build()?;
    /// assert_eq!(worker.monitor().next_deadline(), None);
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn next_deadline(&self) -> Option<chrono::DateTime<chrono::Utc>> {
        let deadlines = self.gauges.iter().map(|gauge| gauge.next_deadline.load(Ordering::Relaxed));
        let next = deadlines.min().filter(|micros| *micros < i64::MAX);
        next.map(|micros| Timestamp::from_micros(micros).into())
    }
}
