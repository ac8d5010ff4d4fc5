//! How long something takes on average, counted from many threads. It must not know what it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moving average in which each new duration weighs an eighth.
#[derive(Debug, Default)]
pub(crate) struct MeanDuration {
    /// Zero while nothing is known.
    nanos: AtomicU64,
}

impl MeanDuration {
    /// The average, once a duration is known.
    pub(crate) fn get(&self) -> Option<Duration> {
        let nanos = self.nanos.load(Ordering::Relaxed);
        (nanos > 0).then_some(Duration::from_nanos(nanos))
    }

    /// Counts a duration. If several threads count at once, one of them may not count.
    pub(crate) fn note(&self, duration: Duration) {
        let new = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mean = match self.nanos.load(Ordering::Relaxed) {
            0 => new,
            old => old - old / WEIGHT + new / WEIGHT,
        };
        self.nanos.store(mean.max(1), Ordering::Relaxed);
    }
}

const WEIGHT: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_follows_what_is_counted() {
        let mean = MeanDuration::default();
        assert_eq!(mean.get(), None);
        mean.note(Duration::from_secs(1));
        assert_eq!(mean.get(), Some(Duration::from_secs(1)));
        (0..200).for_each(|_| mean.note(Duration::ZERO));
        assert!(mean.get().unwrap() < Duration::from_micros(1));
        (0..200).for_each(|_| mean.note(Duration::MAX));
        assert!(mean.get().unwrap() > Duration::from_secs(1_000_000));
    }
}
