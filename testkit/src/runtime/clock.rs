//! The clock of a world's store. It must not know what a store holds.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows_core::Timestamp;
use pgworkflows_memory::Clock;

use super::time::Time;

/// 2026-01-01 00:00 UTC. Any time after 1970 would do, since run ids hold milliseconds since then.
pub const EPOCH: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// A store's clock: an epoch plus the virtual time.
#[derive(Debug)]
pub struct StoreClock {
    time: Arc<Time>,
    epoch: Timestamp,
}

impl StoreClock {
    /// A clock that shows `epoch` when the world begins.
    pub fn new(time: &Arc<Time>, epoch: Timestamp) -> Self {
        Self { time: Arc::clone(time), epoch }
    }
}

impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        self.epoch.saturating_add(Duration::from_micros(self.time.store_now().as_micros() as u64))
    }
}
