//! The limits and defaults that the documentation of a worker states.

use std::time::Duration;

/// The length of a lease, by default.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(15);

/// The time between two heartbeats, by default.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// How long a lease must be held until earlier losses no longer count.
pub(crate) const LEASE_SERVED_WELL: Duration = Duration::from_secs(60);

/// After how long an unanswered request is an error.
pub(crate) const UNANSWERED_ERROR: Duration = Duration::from_secs(30);

/// How long a shutdown takes at most after its grace.
pub(crate) const SHUTDOWN_HANDOVER: Duration = Duration::from_secs(5);

/// How many leases in a row a processor may lose to incurable problems.
pub(crate) const SETBACKS_MAX: u32 = 10;

/// How many leases a slow run may cost before it is set aside.
pub(crate) const STRIKES_MAX: u32 = 3;

/// How many threads that never yield are replaced.
pub(crate) const THREADS_LEFT_BEHIND_MAX: usize = 4;
