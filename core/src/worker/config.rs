//! The settings of a worker. It must not know their defaults or their ranges.

use std::sync::Arc;
use std::time::Duration;

use crate::data::name::Name;
use crate::host::Host;
use crate::processor::setup::ProcessorConfig;

/// The settings of a worker, as its builder checked them.
#[derive(Clone, Debug)]
pub(super) struct WorkerConfig {
    pub(super) queue: String,
    /// How many shards the queue has to have; `None`: any number, and the default if it is created.
    pub(super) queue_shards: Option<u16>,
    /// Whether the children of other queues live in its own.
    pub(super) one_queue: bool,
    /// How new the code is.
    pub(super) generation: u64,
    pub(super) processors: usize,
    pub(super) activities_max: usize,
    /// The activity queues that are served, each with its number of slots; `None` shares those of `activities_max`.
    pub(super) activity_queues: Vec<(Name, Option<usize>)>,
    pub(super) lease_ttl: Duration,
    pub(super) heartbeat_interval: Duration,
    pub(super) shutdown_grace: Duration,
    pub(super) poll_warn: Duration,
    pub(super) processor: ProcessorConfig,
    pub(super) host: Option<Arc<dyn Host>>,
}
