//! The processor's part that holds runs: those in memory, with the order of their deadlines and of what they have to
//! release, and those that are left alone. It must not know what a run does.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::id::RunId;
use crate::data::time::Timestamp;
use crate::processor::live::Live;

/// The runs of a processor.
#[derive(Default)]
pub(super) struct Runs {
    in_memory: BTreeMap<RunId, InMemory>,
    order: Order,
    /// What parks with a deadline up to then stays in memory.
    kept_until: Option<Timestamp>,
    /// The run that was worked on last: if that took too long, it is at fault.
    worked_on: Option<RunId>,
    /// Runs that are left alone here, and why: the store refuses what they write, their histories cannot be, or they
    /// are set aside.
    left_alone: BTreeMap<RunId, String>,
}

struct InMemory {
    live: Box<Live>,
    /// Its entry in [`Order::wakes`].
    wake: Option<Timestamp>,
}

/// In which order runs in memory have something to do.
#[derive(Default)]
struct Order {
    /// The first deadline of each.
    wakes: BTreeSet<(Timestamp, RunId)>,
    /// Runs whose code goes on and has not taken in all that waited for it.
    releasing: BTreeSet<RunId>,
}

/// A run that is worked on.
pub(super) struct AtWork<'a> {
    pub(super) live: &'a mut Live,
    wake: &'a mut Option<Timestamp>,
    order: &'a mut Order,
}

impl AtWork<'_> {
    /// The run went on: its next deadline may be another, and its code may have something to release.
    pub(super) fn went_on(self) {
        let Self { live, wake, order } = self;
        if live.run().can_release() {
            order.releasing.insert(live.id());
        }
        let next = live.next_deadline().map(|deadline| deadline.at);
        if next != *wake {
            wake.inspect(|old| _ = order.wakes.remove(&(*old, live.id())));
            order.wakes.extend(next.map(|at| (at, live.id())));
            *wake = next;
        }
    }
}

impl Runs {
    /// Takes a run into memory.
    pub(super) fn insert(&mut self, live: Live) {
        self.in_memory.insert(live.id(), InMemory { live: Box::new(live), wake: None });
    }

    /// Takes a run out of memory.
    pub(super) fn forget(&mut self, run: RunId) -> Option<Box<Live>> {
        let InMemory { live, wake } = self.in_memory.remove(&run)?;
        wake.inspect(|wake| _ = self.order.wakes.remove(&(*wake, run)));
        Some(live)
    }

    /// How many are in memory.
    pub(super) fn len(&self) -> usize {
        self.in_memory.len()
    }

    /// Whether a run is in memory.
    pub(super) fn contains(&self, run: RunId) -> bool {
        self.in_memory.contains_key(&run)
    }

    pub(super) fn get(&self, run: RunId) -> Option<&Live> {
        self.in_memory.get(&run).map(|in_memory| &*in_memory.live)
    }

    pub(super) fn get_mut(&mut self, run: RunId) -> Option<&mut Live> {
        self.in_memory.get_mut(&run).map(|in_memory| &mut *in_memory.live)
    }

    /// Notes that a run is worked on.
    pub(super) fn work_on(&mut self, run: RunId) {
        self.worked_on = Some(run);
    }

    /// The run that was worked on last.
    pub(super) fn worked_on(&self) -> Option<RunId> {
        self.worked_on
    }

    /// A run in memory, to work on it.
    pub(super) fn at_work(&mut self, run: RunId) -> Option<AtWork<'_>> {
        let InMemory { live, wake } = self.in_memory.get_mut(&run)?;
        Some(AtWork { live, wake, order: &mut self.order })
    }

    /// The first deadline, and whose it is.
    pub(super) fn next_wake(&self) -> Option<(Timestamp, RunId)> {
        self.order.wakes.first().copied()
    }

    /// Takes the next run that may have something to release.
    pub(super) fn next_release(&mut self) -> Option<RunId> {
        self.order.releasing.pop_first()
    }

    /// From now on, what parks with a deadline up to then stays in memory.
    pub(super) fn keep_until(&mut self, until: Timestamp) {
        self.kept_until = self.kept_until.max(Some(until));
    }

    /// Up to which deadline what parks stays in memory.
    pub(super) fn kept_until(&self) -> Option<Timestamp> {
        self.kept_until
    }

    /// Whether a run in memory costs nothing but its rows once it leaves.
    pub(super) fn is_idle(&self, run: RunId) -> bool {
        let idle = |live: &Live| live.is_idle(self.kept_until) || self.left_alone.contains_key(&run);
        self.get(run).is_some_and(|live| live.is_committed() && idle(live))
    }

    /// From now on the run is left alone. Whether it was not before.
    pub(super) fn leave_alone(&mut self, run: RunId, why: String) -> bool {
        self.left_alone.insert(run, why).is_none()
    }

    pub(super) fn is_left_alone(&self, run: RunId) -> bool {
        self.left_alone.contains_key(&run)
    }

    pub(super) fn why_left_alone(&self, run: RunId) -> Option<&String> {
        self.left_alone.get(&run)
    }
}
