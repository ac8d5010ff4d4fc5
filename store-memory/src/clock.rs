//! The store's injected clock, which gives all times of a store. It must not know the store.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgworkflows_core::Timestamp;

/// A source of time for a store.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time. It may go backwards, as the clock of a database's machine may.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that changes only when [`set`](Self::set) or [`advance`](Self::advance) is called.
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
    /// Creates a clock at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.as_micros()))
    }

    /// Sets the clock to `time`, which may be earlier or later.
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.as_micros(), Ordering::SeqCst);
    }

    /// Moves the clock forward by a duration, to [`Timestamp::MAX_DEADLINE`] at most.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }
}

impl Default for ManualClock {
    /// Starts at 2026-01-01 00:00 UTC. Any time after 1970 would do, because run ids hold milliseconds since then.
    fn default() -> Self {
        Self::new(Timestamp::from_micros(1_767_225_600_000_000))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
