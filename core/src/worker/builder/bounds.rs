//! The settings that limit what a worker keeps and what a run may write. It must not know where they are checked.

use crate::processor::memory::MemoryBudget;
use crate::worker::builder::WorkerBuilder;

impl WorkerBuilder {
    /// Sets how many bytes the worker may keep in memory, over all its processors: at least 16 KiB, by default 256 MiB. It is a
    /// budget for what the engine keeps: runs in memory with their inputs and what they wait for, messages that were read,
    /// outcomes of activities on their way, and what waits to be written.
    ///
    /// * From half of it on, starts wait in the inbox, and runs leave memory that wait for tasks only. Messages for runs that
    ///   have begun are delivered as always.
    /// * While all of it is used, messages and deadlines are taken in piece by piece, an activity that ended keeps its slot
    ///   until there is room for its outcome, and activities become tasks, so that their runs can leave memory. All runs
    ///   still go on, however small the budget is.
    ///
    /// The sizes are estimates. What workflows and activities allocate themselves is not known: a workflow counts with the
    /// size of its future and twice that of its input. Beyond the budget, a worker needs about 20 MiB, up to 64 MiB for
    /// each processor that reads and writes large payloads, the largest run of each processor, and what its activities hold:
    /// the input and the result of each that is being executed, and their encoded forms while they are made. So in a
    /// container of 256 MiB, give 64 MiB, one or two processors, and as many [activities](Self::activities_max) as fit.
    /// [`WorkerMonitor::memory_bytes`](crate::worker::WorkerMonitor::memory_bytes) says how much is used.
    ///
    /// [`build`](Self::build) refuses less than 16 KiB.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).memory_max(64 << 20).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn memory_max(mut self, bytes: usize) -> Self {
        self.config.processor.memory = MemoryBudget::new(bytes);
        self
    }

    /// Sets how many bytes an encoded payload may have: any number, by default 2 MiB. A run that makes a larger payload
    /// stalls; an activity or a step that returns a larger one fails.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).payload_bytes_max(64 << 10).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.definitions.payload_bytes_max = bytes;
        self
    }

    /// Sets at how many events of its history a run is logged with a warning (any number, by default 10,000), and at how
    /// many it stalls (at least 1, by default 50,000).
    ///
    /// [`build`](Self::build) refuses a `max` of 0.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).history_events(1_000, 5_000).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn history_events(mut self, warn: u32, max: u32) -> Self {
        self.config.processor.history_events_warn = warn;
        self.config.processor.history_events_max = max;
        self
    }
}
