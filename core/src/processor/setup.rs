//! What a processor is given when it begins, and never changes.

use std::time::Duration;

use crate::data::id::LeaseId;
use crate::workflow::registry::Registry;

/// What a worker's user may set of its processors.
#[derive(Clone, Debug)]
pub(crate) struct ProcessorConfig {
    pub(crate) worker: String,
    pub(crate) history_events_warn: u32,
    pub(crate) history_events_max: u32,
    /// How many runs may be in memory before no more messages are read.
    pub(crate) runs_max: usize,
    /// How far ahead deadlines are loaded: two heartbeats.
    pub(crate) horizon: Duration,
}

/// What a processor is given.
pub(super) struct Setup {
    pub(super) config: ProcessorConfig,
    pub(super) registry: Registry,
    pub(super) lease: LeaseId,
}
