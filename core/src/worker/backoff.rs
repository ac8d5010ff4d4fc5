//! How long a worker's parts wait between tries. It must not know what they try.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::host::Host;

/// The longest delay between two tries to reach the store, jitter aside.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Delays between tries to reach the store: without end, from 20 ms on, with the host's jitter.
pub(super) fn backoff(host: &dyn Host) -> impl Iterator<Item = Duration> + Send + use<> {
    delays(host, Duration::from_millis(20), BACKOFF_MAX)
}

/// Delays without end, each twice as long as the one before it, up to `max`. Each is drawn out by the host's jitter,
/// to twice its length at most.
pub(super) fn delays(host: &dyn Host, min: Duration, max: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(min)
        .with_max_delay(max)
        .with_jitter()
        .with_jitter_seed(host.random())
        .without_max_times()
        .build()
}
