//! Every limit of the library, with its default. One file, so that nobody has to look for them.

use std::time::Duration;

/// How many bytes one payload may have: 2 MiB.
pub const PAYLOAD_BYTES_MAX: usize = 2 << 20;

/// How many events a run may have before its worker warns: 10,000.
pub const HISTORY_EVENTS_WARN: u32 = 10_000;

/// How many events a run may have before it stalls: 50,000.
pub const HISTORY_EVENTS_MAX: u32 = 50_000;

/// How many bytes a name or a key may have.
pub const NAME_BYTES_MAX: usize = 255;

/// How many causes of a failure are recorded.
pub const FAILURE_CAUSES_MAX: usize = 8;

/// How many times an activity under suspicion may take its process with it before it fails.
pub const ATTEMPTS_LOST_MAX: u32 = 5;

/// How many owners of a shard in a row must die before its busy runs come under suspicion.
pub const DEATHS_BEFORE_SUSPICION: u32 = 3;

/// How many shards a new queue has by default.
pub const QUEUE_SHARDS: u16 = 64;

/// How many events an append holds at most, one run's own included whole.
pub const APPEND_EVENTS_MAX: usize = 5_000;

/// How long a worker's lease is valid after each renewal, by default.
pub const LEASE_TTL: Duration = Duration::from_secs(15);

/// How often a worker renews its leases and looks for work, at most.
pub const TICK_INTERVAL: Duration = Duration::from_secs(2);

/// How long a timeout may be: 100 years.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
