//! The settings of a processor, which never change. It must not know their ranges.

use std::time::Duration;

use crate::data::id::LeaseId;
use crate::data::name::Name;
use crate::observe::metrics::Metrics;
use crate::processor::memory::MemoryBudget;
use crate::workflow::registry::Registry;

/// The settings that a worker gives its processors.
#[derive(Clone, Debug)]
pub(crate) struct ProcessorConfig {
    pub(crate) worker: String,
    /// The activity queue of activities that are executed elsewhere although their workflows name no queue.
    pub(crate) activity_queue: Name,
    pub(crate) history_events_warn: u32,
    pub(crate) history_events_max: u32,
    /// How many owners of a shard must die in a row before its runs come under suspicion.
    pub(crate) deaths_before_suspicion: u32,
    /// How many processes an activity may take down before it fails.
    pub(crate) attempts_lost_max: u32,
    /// The bytes that the worker may keep in memory.
    pub(crate) memory: MemoryBudget,
    /// What the worker counts.
    pub(crate) metrics: Metrics,
    /// How many bytes may wait for an append before no more input is taken.
    pub(crate) outbox_bytes_max: usize,
    /// How many bytes of messages or of histories are read at once.
    pub(crate) page_bytes_max: usize,
    /// How long a shard that goes to another owner waits for the attempts and steps that are being executed.
    pub(crate) handover_grace: Duration,
    /// How far ahead deadlines are loaded: two heartbeat intervals.
    pub(crate) horizon: Duration,
}

/// The fixed inputs of a processor.
pub(super) struct Setup {
    pub(super) config: ProcessorConfig,
    pub(super) registry: Registry,
    pub(super) lease: LeaseId,
}
