//! Deadlines: they are kept in memory for every run that is, and fire from there.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::data::id::RunId;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::processor::{Live, Processor};
use crate::run::state::{Deadline, DeadlineKind};
use crate::store::history::DueRuns;

impl Processor {
    /// The next time at which [`Processor::advance`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Fires the next deadline that is due. Whether there was one.
    pub(super) fn fire_next(&mut self, now: Timestamp) -> bool {
        let Some((at, id)) = self.wakes.first().copied() else { return false };
        if at > now {
            return false;
        }
        self.fire(id, now);
        true
    }

    /// Fires the first deadline of a run.
    fn fire(&mut self, id: RunId, now: Timestamp) {
        let Some(live) = self.runs.get_mut(&id) else { return };
        let Some(deadline) = live.next_deadline() else { return live.reschedule(&mut self.wakes) };
        match deadline.kind {
            DeadlineKind::Timer => {
                let progress = live.run.resolve(now, Event::TimerFired { id: deadline.id });
                self.absorb(id, progress, &[], now);
            }
            DeadlineKind::ScheduleToClose => {
                let progress = live.run.activity_out_of_time(now, deadline.id);
                self.absorb(id, progress, &[], now);
            }
            DeadlineKind::Retry => {
                live.retried = Some(deadline);
                self.dispatch(id, deadline.id, now);
            }
        }
        if let Some(live) = self.runs.get_mut(&id) {
            live.reschedule(&mut self.wakes);
        }
    }

    /// Parked runs whose deadline is near.
    pub(crate) fn due_runs(&mut self, due: &crate::store::history::Due, found: &DueRuns) {
        let full = found.runs.len() >= due.limit as usize;
        let mark = if full { found.runs.last().copied() } else { Some(super::end_of(due.until)) };
        if self.serves_exactly(&due.shards) {
            self.due_mark = self.due_mark.max(mark);
        }
        self.due |= full;
        for run in &found.runs {
            if !self.runs.contains_key(&run.run) && !self.refused.contains_key(&run.run) {
                self.want(run.run, Vec::new());
            }
        }
    }
}

impl Live {
    /// Keeps the run's entry in the order of deadlines.
    pub(super) fn reschedule(&mut self, wakes: &mut BTreeSet<(Timestamp, RunId)>) {
        let next = self.next_deadline().map(|deadline| deadline.at);
        if next == self.wake {
            return;
        }
        let id = self.run.state.id;
        if let Some(old) = self.wake.take() {
            wakes.remove(&(old, id));
        }
        wakes.extend(next.map(|at| (at, id)));
        self.wake = next;
    }

    /// The first deadline, of retries the first that was not handed to the executor.
    fn next_deadline(&self) -> Option<Deadline> {
        let state = &self.run.state;
        let handed_out = self.retried.map_or(Bound::Unbounded, Bound::Excluded);
        let retry = state.retries.range((handed_out, Bound::Unbounded)).next();
        state.deadlines.first().into_iter().chain(retry).min().copied()
    }
}
