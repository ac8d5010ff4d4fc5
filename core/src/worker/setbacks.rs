//! The reasons for which a processor loses its lease, how long it backs off before it claims another, and when it gives
//! up. It must not know what a processor does.

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

/// Why a processor lost its lease.
#[derive(Debug)]
pub(crate) enum Loss {
    /// Its lease could not be renewed in time.
    Unrenewed {
        /// The run whose poll or replay took most of that time.
        at_fault: Option<RunId>,
    },
    /// The store rejected the lease.
    Fenced(String),
    /// The store returned an error that retries do not fix.
    Store(StoreError),
    /// Code of a store or of the engine panicked on its thread.
    Panicked(Panic),
}

impl Loss {
    /// Whether neither waiting nor another lease cures it: a processor that keeps losing leases for this should stop.
    pub(super) fn is_incurable(&self) -> bool {
        match self {
            Self::Unrenewed { .. } | Self::Fenced(_) => false,
            Self::Store(error) => !waiting_helps(error),
            Self::Panicked(_) => true,
        }
    }
}

/// Whether the same request may succeed later without a change to this process.
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
                f.write_str("it could not be renewed for two thirds of its duration")
            }
            Self::Unrenewed { at_fault: Some(run) } => {
                write!(
                    f,
                    "it could not be renewed for two thirds of its duration, because run {run} blocked its processor"
                )
            }
            Self::Fenced(reason) => write!(f, "fenced: {reason}"),
            Self::Store(error) => error.fmt(f),
            Self::Panicked(panic) => write!(f, "a panic: {panic}"),
        }
    }
}

/// Counts a processor's lease losses in a row, and backs off between them. A lease held long enough resets the count.
pub(super) struct Setbacks {
    host: Arc<dyn Host>,
    served_well: Duration,
    in_a_row: u32,
    incurable: u32,
    backoff: ExponentialBackoff,
}

impl Setbacks {
    /// No losses yet.
    pub(super) fn new(host: Arc<dyn Host>, lease_ttl: Duration) -> Self {
        let (in_a_row, incurable) = (0, 0);
        let backoff = backoff(&*host);
        Self { host, served_well: served_well(lease_ttl), in_a_row, incurable, backoff }
    }

    /// Counts the loss of a lease that was held for `served`. Returns how long to back off; `None` to give up.
    ///
    /// There is no backoff after the first loss: a paused process or another worker's deployment may be the cause.
    pub(super) fn count(&mut self, loss: &Loss, served: Duration) -> Option<Duration> {
        if served >= self.served_well {
            (self.in_a_row, self.incurable) = (0, 0);
            self.backoff = backoff(&*self.host);
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.incurable += u32::from(loss.is_incurable());
        if self.incurable >= limits::SETBACKS_MAX {
            return None;
        }
        if self.in_a_row == 1 {
            return Some(Duration::ZERO);
        }
        Some(self.backoff.next().unwrap_or(limits::SETBACK_DELAY_MAX))
    }

    /// How many losses there were in a row.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }
}

/// How long a lease must be held until earlier losses no longer count.
pub(super) fn served_well(lease_ttl: Duration) -> Duration {
    limits::LEASE_SERVED_WELL.max(lease_ttl * 4)
}

fn backoff(host: &dyn Host) -> ExponentialBackoff {
    delays(host, limits::SETBACK_DELAY, limits::SETBACK_DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;

    use super::*;

    /// A host whose time stands still.
    #[derive(Debug)]
    struct StoppedHost;

    impl Host for StoppedHost {
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
    fn backoff_grows_with_losses_in_a_row_and_a_lease_held_long_resets_it() {
        // Given leases that are lost one after the other, each as soon as it expires
        let mut setbacks = Setbacks::new(Arc::new(StoppedHost), TTL);
        let mut pauses = Vec::new();
        for _ in 0..50 {
            pauses.push(
                setbacks
                    .count(&Loss::Unrenewed { at_fault: None }, TTL)
                    .expect("slowness is waited out forever"),
            );
        }
        // Then there is no pause after the first loss, and each further pause is longer, up to the limit and its jitter
        assert_eq!(pauses[0], Duration::ZERO);
        assert!(pauses[1] >= limits::SETBACK_DELAY, "{pauses:?}");
        assert!(pauses[6] > 4 * pauses[1], "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 2 * limits::SETBACK_DELAY_MAX), "{pauses:?}");
        assert_eq!(setbacks.in_a_row(), 50);
        // When a lease is held for long
        let pause = setbacks.count(&Loss::Unrenewed { at_fault: None }, served_well(TTL));
        // Then its loss counts as the first again
        assert_eq!((pause, setbacks.in_a_row()), (Some(Duration::ZERO), 1));
    }

    #[test]
    fn incurable_losses_are_given_up_after_the_stated_number_of_tries() {
        let mut setbacks = Setbacks::new(Arc::new(StoppedHost), TTL);
        let tries = (1..100).find(|_| setbacks.count(&corrupt(), Duration::ZERO).is_none());
        assert_eq!(tries, Some(limits::SETBACKS_MAX));
    }

    #[test]
    fn curable_losses_are_never_given_up() {
        let mut setbacks = Setbacks::new(Arc::new(StoppedHost), TTL);
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
