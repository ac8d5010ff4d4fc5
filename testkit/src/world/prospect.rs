//! What lies ahead of a world in which no task is woken. Time is skipped up to that, however far it is. It must not
//! make anything happen.

use std::time::Duration;

use pgworkflows_core::Timestamp;

use super::{HEARTBEAT_INTERVAL, LEASE_TTL, World, is_engine};
use crate::runtime::time::Owner;

/// What a world in which no task is woken waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// An activity or a step waits for something that is not of this world.
    Outside,
    /// Time has to pass, until then at least.
    Time(Duration),
    /// Nothing: whatever time passes, no run goes on.
    Nothing,
}

impl World {
    /// What has to happen before the world goes on by itself, once it is settled.
    pub(crate) fn prospect(&self) -> Prospect {
        if self.calls.waits_outside() {
            return Prospect::Outside;
        }
        self.next_stop().map_or(Prospect::Nothing, Prospect::Time)
    }

    /// How much time there is until the store's clock ends.
    pub(crate) fn time_left(&self) -> Duration {
        self.elapsed_at(Timestamp::MAX_DEADLINE).saturating_sub(self.time.now())
    }

    /// Whether an attempt of an activity or a step has a virtual timer.
    pub(super) fn has_attempt_with_timer(&self) -> bool {
        let is_attempt = |owner: Owner, _| owner != Owner::WORLD && !is_engine(owner);
        self.time.next_timer_of(is_attempt).is_some()
    }

    /// The next time at which something may happen; `None` if nothing will but heartbeats. Those on the way are skipped:
    /// however many are due on arrival, the heart beats once.
    fn next_stop(&self) -> Option<Duration> {
        let timer = self.time.next_timer_of(|owner, length| !is_idle(owner, length));
        let stop = [timer, self.next_deadline(), self.next_loading()].into_iter().flatten().min()?;
        // An idle worker has to renew its lease all the same, and trusts it for two thirds of its time.
        let renewal = self.time.now() + LEASE_TTL / 2;
        // Something has to ring on arrival.
        Some(stop.min(renewal).max(self.time.next_timer()?))
    }

    /// The earliest deadline of a run that a worker has in memory.
    fn next_deadline(&self) -> Option<Duration> {
        let workers = self.workers.borrow();
        let next = workers.values().filter_map(|monitor| monitor.next_deadline()).min()?;
        Some(self.elapsed_at(next.into()))
    }

    /// When the run that is due first of those that are parked is brought into memory: by a heartbeat before its
    /// deadline, so that it fires on time.
    fn next_loading(&self) -> Option<Duration> {
        Some(self.elapsed_at(self.store.next_deadline()?).saturating_sub(HEARTBEAT_INTERVAL))
    }

    /// How much virtual time has passed when the store's clock shows that.
    fn elapsed_at(&self, time: Timestamp) -> Duration {
        time.saturating_since(self.settings.epoch)
    }
}

/// Whether a timer is one that a worker always has: for its next heartbeat, and for the end of its lease or a far
/// deadline. What it waits for in between is short: an answer, the next try.
fn is_idle(owner: Owner, length: Duration) -> bool {
    is_engine(owner) && length >= HEARTBEAT_INTERVAL
}
