//! What sets a processor back, how long it rests before it begins anew, and when that is given up. It must not know
//! what a processor does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;

use crate::data::id::RunId;
use crate::data::limits;
use crate::guard::Panic;
use crate::host::Host;
use crate::store::error::StoreError;
use crate::worker::backoff::delays;

/// Why a processor could not go on as it was.
#[derive(Debug)]
pub(crate) enum Loss {
    /// Its lease could not be renewed in time.
    Unrenewed {
        /// The run whose poll or replay took all that time.
        at_fault: Option<RunId>,
    },
    /// The store says that its lease is gone.
    Fenced(String),
    /// The store answered what it cannot go on with.
    Store(StoreError),
    /// Code on its thread panicked: a store's, or the engine's own.
    Panicked(Panic),
}

impl Loss {
    /// Whether neither time nor another owner cures it, so that whoever meets it again and again may as well stop.
    pub(super) fn is_incurable(&self) -> bool {
        match self {
            Self::Unrenewed { .. } | Self::Fenced(_) => false,
            Self::Store(error) => !waiting_helps(error),
            Self::Panicked(_) => true,
        }
    }
}

/// Whether the same request may succeed after a while, without anybody touching this process.
pub(super) fn waiting_helps(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable { .. } | StoreError::Held { .. } | StoreError::Misconfigured { .. } => true,
        StoreError::Fenced { .. }
        | StoreError::Conflict { .. }
        | StoreError::Corrupt { .. }
        | StoreError::LimitExceeded { .. } => false,
    }
}

impl From<StoreError> for Loss {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced { reason } => Self::Fenced(reason),
            error => Self::Store(error),
        }
    }
}

impl From<Panic> for Loss {
    fn from(panicked: Panic) -> Self {
        Self::Panicked(panicked)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrenewed { at_fault: None } => {
                f.write_str("it could not be renewed for two thirds of its time")
            }
            Self::Unrenewed { at_fault: Some(run) } => {
                write!(f, "it could not be renewed for two thirds of its time, which run {run} used up")
            }
            Self::Fenced(reason) => write!(f, "fenced: {reason}"),
            Self::Store(error) => error.fmt(f),
            Self::Panicked(panic) => write!(f, "a panic: {panic}"),
        }
    }
}

/// The losses of one processor in a row: time served well ends the row.
pub(super) struct Setbacks {
    host: Arc<dyn Host>,
    served_well: Duration,
    in_a_row: u32,
    incurable: u32,
    pauses: ExponentialBackoff,
}

impl Setbacks {
    /// No losses yet.
    pub(super) fn new(host: Arc<dyn Host>, lease_ttl: Duration) -> Self {
        let (in_a_row, incurable) = (0, 0);
        let pauses = pauses(&*host);
        Self { host, served_well: served_well(lease_ttl), in_a_row, incurable, pauses }
    }

    /// Counts a loss after a lease had been served for so long. How long to rest now; `None` if nothing helps.
    ///
    /// The first loss costs no rest: it is what a pause of the process or a neighbour's deploy leads to.
    pub(super) fn count(&mut self, loss: &Loss, served: Duration) -> Option<Duration> {
        if served >= self.served_well {
            (self.in_a_row, self.incurable) = (0, 0);
            self.pauses = pauses(&*self.host);
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.incurable += u32::from(loss.is_incurable());
        if self.incurable >= limits::SETBACKS_MAX {
            return None;
        }
        if self.in_a_row == 1 {
            return Some(Duration::ZERO);
        }
        Some(self.pauses.next().unwrap_or(limits::SETBACK_DELAY_MAX))
    }

    /// How many losses there were in a row.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }
}

/// How long a lease must be held until the losses before it are forgotten.
pub(super) fn served_well(lease_ttl: Duration) -> Duration {
    limits::LEASE_SERVED_WELL.max(lease_ttl * 4)
}

fn pauses(host: &dyn Host) -> ExponentialBackoff {
    delays(host, limits::SETBACK_DELAY, limits::SETBACK_DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;

    use super::*;

    /// A host whose time stands still.
    #[derive(Debug)]
    struct Still;

    impl Host for Still {
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }

        fn random(&self) -> u64 {
            7
        }

        fn spawn(&self, _: BoxFuture<'static, ()>) {}
    }

    const TTL: Duration = Duration::from_secs(15);

    fn corrupt() -> Loss {
        StoreError::corrupt("a page of nonsense").into()
    }

    #[test]
    fn pauses_grow_with_losses_in_a_row_and_time_served_ends_the_row() {
        // Given leases that are lost one after the other, each as soon as its time is over
        let mut setbacks = Setbacks::new(Arc::new(Still), TTL);
        let mut pauses = Vec::new();
        for _ in 0..50 {
            pauses.push(
                setbacks
                    .count(&Loss::Unrenewed { at_fault: None }, TTL)
                    .expect("slowness is waited out for ever"),
            );
        }
        // Then the first is free, each further pause is longer, up to the limit and its jitter
        assert_eq!(pauses[0], Duration::ZERO);
        assert!(pauses[1] >= limits::SETBACK_DELAY, "{pauses:?}");
        assert!(pauses[6] > 4 * pauses[1], "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 2 * limits::SETBACK_DELAY_MAX), "{pauses:?}");
        assert_eq!(setbacks.in_a_row(), 50);
        // When one is held for long
        let pause = setbacks.count(&Loss::Unrenewed { at_fault: None }, served_well(TTL));
        // Then that loss is the first again
        assert_eq!((pause, setbacks.in_a_row()), (Some(Duration::ZERO), 1));
    }

    #[test]
    fn what_nothing_cures_is_given_up_after_the_stated_number_of_tries() {
        let mut setbacks = Setbacks::new(Arc::new(Still), TTL);
        let tries = (1..100).find(|_| setbacks.count(&corrupt(), Duration::ZERO).is_none());
        assert_eq!(tries, Some(limits::SETBACKS_MAX));
    }

    #[test]
    fn what_others_or_time_may_cure_is_not_given_up() {
        let mut setbacks = Setbacks::new(Arc::new(Still), TTL);
        let curable = [
            Loss::Unrenewed { at_fault: None },
            Loss::Fenced(String::new()),
            StoreError::unavailable("").into(),
            StoreError::held("").into(),
            StoreError::misconfigured("").into(),
        ];
        for _ in 0..limits::SETBACKS_MAX {
            for loss in &curable {
                assert!(setbacks.count(loss, Duration::ZERO).is_some(), "{loss}");
            }
        }
    }
}
