//! What happens next in a world in which no task is woken. Time is skipped up to that moment, however late it is. It
//! must not change the world.

use std::time::Duration;

use pgworkflows_core::Timestamp;

use super::{HEARTBEAT_INTERVAL, LEASE_TTL, World, is_engine};
use crate::runtime::time::Owner;

/// What a world in which no task is woken waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// An activity or a step waits for something outside of the world.
    Outside,
    /// Time has to pass at least until then.
    Time(Duration),
    /// Nothing: however much time passes, no run continues.
    Nothing,
}

impl World {
    /// What has to happen before a settled world continues by itself.
    pub(crate) fn prospect(&self) -> Prospect {
        if self.calls.waits_outside() {
            return Prospect::Outside;
        }
        self.next_stop().map_or(Prospect::Nothing, Prospect::Time)
    }

    /// How much time is left until the last time that the store's clock can show.
    pub(crate) fn time_left(&self) -> Duration {
        self.elapsed_at(Timestamp::MAX_DEADLINE).saturating_sub(self.time.now())
    }

    /// Whether an attempt of an activity or a step has a virtual timer.
    pub(super) fn has_attempt_with_timer(&self) -> bool {
        let is_attempt = |owner: Owner, _| owner != Owner::WORLD && !is_engine(owner);
        self.time.next_timer_of(is_attempt).is_some()
    }

    /// The next time at which something may happen; `None` if only heartbeats will. Heartbeats before that time are
    /// skipped: however many are due then, one is sent.
    fn next_stop(&self) -> Option<Duration> {
        let timer = self.time.next_timer_of(|owner, length| !is_idle(owner, length));
        let stop = [timer, self.next_deadline(), self.next_loading()].into_iter().flatten().min()?;
        // An idle worker has to renew its lease as well, and trusts it for two thirds of its time.
        let renewal = self.time.now() + LEASE_TTL / 2;
        // A timer has to be due at that time.
        Some(stop.min(renewal).max(self.time.next_timer()?))
    }

    /// The earliest deadline of a run that a worker has in memory.
    fn next_deadline(&self) -> Option<Duration> {
        let workers = self.workers.borrow();
        let next = workers.values().filter_map(|monitor| monitor.next_deadline()).min()?;
        Some(self.elapsed_at(next.into()))
    }

    /// When the parked run with the earliest deadline is loaded: by a heartbeat before its deadline, so that the
    /// deadline is met.
    fn next_loading(&self) -> Option<Duration> {
        Some(self.elapsed_at(self.store.next_deadline()?).saturating_sub(HEARTBEAT_INTERVAL))
    }

    /// How much virtual time has passed when the store's clock shows `time`.
    fn elapsed_at(&self, time: Timestamp) -> Duration {
        time.saturating_since(self.settings.epoch)
    }
}

/// The worker's shortest timer that makes no run continue: to report that an answer of the store is missing.
const REPORT: Duration = Duration::from_secs(30);

/// Whether an idle worker has this timer: for its next heartbeat, the end of its lease, a late deadline, or a report. Its other
/// timers are shorter: to try again.
fn is_idle(owner: Owner, length: Duration) -> bool {
    is_engine(owner) && length >= REPORT
}
