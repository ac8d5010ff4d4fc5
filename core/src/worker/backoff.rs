//! The backoff of a worker's parts between retries. It must not know what they retry.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::host::Host;

/// The longest delay between two tries to reach the store, without jitter.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Endless delays between tries to reach the store: from 20 ms, with the host's jitter.
pub(super) fn backoff(host: &dyn Host) -> impl Iterator<Item = Duration> + Send + use<> {
    delays(host, Duration::from_millis(20), BACKOFF_MAX)
}

/// Endless delays, each twice as long as the one before it, up to `max`. The host's jitter at most doubles each of them.
pub(super) fn delays(host: &dyn Host, min: Duration, max: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(min)
        .with_max_delay(max)
        .with_jitter()
        .with_jitter_seed(host.random())
        .without_max_times()
        .build()
}
