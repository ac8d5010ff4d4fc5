//! How a worker's parts wait for a store that does not answer. It must not know what they ask it.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::host::Host;

/// The longest delay between two tries to reach the store.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Delays between tries to reach the store: without end, from 20 ms on, with the host's jitter.
pub(super) fn backoff(host: &dyn Host) -> impl Iterator<Item = Duration> + Send + use<> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(BACKOFF_MAX)
        .with_jitter()
        .with_jitter_seed(host.random())
        .without_max_times()
        .build()
}
