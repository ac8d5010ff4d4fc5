//! The store's clock, injected: all times of a store are its answers. It must not know who asks.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgworkflows_core::Timestamp;

/// What a store asks for the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now. It may step back, as the clock of a database's machine may.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is told otherwise.
///
/// ```
/// use std::time::Duration;
/// use pgworkflows::Timestamp;
/// use pgworkflows_memory::{Clock, ManualClock};
///
/// let clock = ManualClock::new(Timestamp::from_micros(5));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now().as_micros(), 1_000_005);
/// ```
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.as_micros()))
    }

    /// Shows `time` from now on, earlier or later.
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.as_micros(), Ordering::SeqCst);
    }

    /// Moves the clock on, to [`Timestamp::MAX_DEADLINE`] at most.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }
}

impl Default for ManualClock {
    /// Shows 2026-01-01 00:00 UTC: any time after 1970 would do, since run ids hold milliseconds since then.
    fn default() -> Self {
        Self::new(Timestamp::from_micros(1_767_225_600_000_000))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
