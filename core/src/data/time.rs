//! A point in time by the store's clock. Nothing here reads a clock.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// A point in time by the store's clock, in microseconds since 1970-01-01 00:00 UTC: the precision of PostgreSQL.
///
/// ```
/// use std::time::Duration;
/// use pgworkflows::Timestamp;
///
/// let noon = Timestamp::from_micros(43_200_000_000);
/// assert_eq!(noon.to_string(), "1970-01-01T12:00:00.000000Z");
/// assert_eq!(noon.saturating_add(Duration::from_secs(60)).saturating_since(noon), Duration::from_secs(60));
/// assert_eq!(Timestamp::MAX_DEADLINE.checked_add(Duration::from_secs(1)), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time.
    pub const MIN: Self = Self(i64::MIN);

    /// The latest deadline: the end of the year 9999, which every store can hold.
    pub const MAX_DEADLINE: Self = Self(253_402_300_799_000_000);

    /// The time that is `micros` microseconds after the beginning of 1970, UTC; before it if negative.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the beginning of 1970, UTC.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This time plus `delay`, rounded up to a microsecond; `None` after [`Timestamp::MAX_DEADLINE`].
    pub fn checked_add(self, delay: Duration) -> Option<Self> {
        let micros = i64::try_from(delay.as_micros()).ok()?;
        // A deadline rounds up to the next microsecond: a timer may be late, never early.
        let micros = micros.checked_add(i64::from(!delay.subsec_nanos().is_multiple_of(1000)))?;
        let sum = Self(self.0.checked_add(micros)?);
        (sum <= Self::MAX_DEADLINE).then_some(sum)
    }

    /// This time plus `delay`, at most [`Timestamp::MAX_DEADLINE`].
    #[must_use]
    pub fn saturating_add(self, delay: Duration) -> Self {
        self.checked_add(delay).unwrap_or(Self::MAX_DEADLINE)
    }

    /// This time minus `time`.
    pub(crate) fn saturating_sub(self, time: Duration) -> Self {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// The time from `earlier` to this one; zero if `earlier` is the later one.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(time: Timestamp) -> Self {
        DateTime::from_timestamp_micros(time.0).unwrap_or(if time.0 < 0 {
            DateTime::<Utc>::MIN_UTC
        } else {
            DateTime::<Utc>::MAX_UTC
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from(*self);
        time.format("%Y-%m-%dT%H:%M:%S%.6fZ").fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
