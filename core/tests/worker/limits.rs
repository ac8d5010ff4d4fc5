//! What the documentation of a worker says in numbers.

use std::time::Duration;

/// The length of a lease, by default.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(15);

/// How often a worker looks for work, by default.
pub(crate) const TICK_INTERVAL: Duration = Duration::from_secs(2);

/// How long a lease must be held before the losses before it are forgotten.
pub(crate) const LEASE_SERVED_WELL: Duration = Duration::from_secs(60);

/// After how long a store that does not answer is an error.
pub(crate) const UNANSWERED_ERROR: Duration = Duration::from_secs(30);

/// How long a shutdown takes at most after its grace.
pub(crate) const SHUTDOWN_HANDOVER: Duration = Duration::from_secs(5);

/// How often in a row a processor begins anew after what waiting does not cure.
pub(crate) const SETBACKS_MAX: u32 = 10;

/// How many leases a run may cost by slowness before it is set aside.
pub(crate) const STRIKES_MAX: u32 = 3;

/// How many threads that never yield are replaced.
pub(crate) const THREADS_LEFT_BEHIND_MAX: usize = 4;
