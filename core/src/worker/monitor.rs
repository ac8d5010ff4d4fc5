//! What a worker's processors show to other threads: their live runs and their next deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::data::time::Timestamp;

/// What a processor shows of itself to other threads.
#[derive(Clone, Debug)]
pub(crate) struct Gauge {
    live_runs: Arc<AtomicUsize>,
    /// In microseconds since 1970; `i64::MAX` if there is none.
    next_deadline: Arc<AtomicI64>,
}

impl Gauge {
    pub(super) fn live_runs(&self) -> usize {
        self.live_runs.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, live_runs: usize, next_deadline: Option<Timestamp>) {
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
    pub(super) gauges: Vec<Gauge>,
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
