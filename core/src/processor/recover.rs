//! Recovery: runs come back from their histories, after a takeover, for a message, or for a deadline. A history is
//! replayed some events at a time, so that a long one holds nothing up.

use super::batch::{Group, RowChange};
use super::{Live, Processor};
use crate::canary::{self, Bug};
use crate::event::{Event, wire};
use crate::id::{CommandId, RunId};
use crate::run::{PendingActivity, Replay, RunState, Terms, Turn, decode_record};
use crate::store::{EventRecord, Load, Loaded, OpenRow, OpenState, Unparked};
use crate::time::Timestamp;

/// How many events are replayed before something else has its turn.
const EVENTS_AT_ONCE: usize = 64;

impl Processor {
    /// Busy and stalled runs that were asked for. Those that are in memory have gone on since, or will: only what is not
    /// there is loaded.
    pub(crate) fn listed(&mut self, asked: Unparked, found: &[RunId]) {
        let (runs, refused) = (&self.runs, &self.refused);
        let in_memory = |run: &RunId| runs.contains_key(run) && !canary::is(Bug::Revived);
        self.loads.listed(asked, found, |run| in_memory(&run) || refused.contains_key(&run));
    }

    /// Histories that were asked for.
    pub(crate) fn loaded(&mut self, asked: Load, loaded: Loaded) {
        self.loads.answer(asked, loaded);
    }

    /// Replays some events of the history that is next. Whether there is one.
    pub(super) fn replay_some(&mut self, turn: &Turn<'_>) -> bool {
        if self.outbox.is_full() {
            return false;
        }
        let Some(arrived) = self.loads.arrived() else { return false };
        let (id, whole) = (arrived.run, arrived.whole);
        if self.replaying.is_none() {
            if whole && arrived.events.back().is_none_or(is_terminal) {
                self.nothing_to_replay(id, turn.now);
                return true;
            }
            let held = self.refused.get(&id).cloned();
            self.replaying = Some(match held {
                Some(why) => Replay::without_code(id, self.registry.clone(), turn.now, why),
                None => Replay::new(id, self.registry.clone(), turn.now),
            });
        }
        let (Some(replay), Some(arrived)) = (&mut self.replaying, self.loads.arrived()) else { return false };
        let mut taken = 0;
        while let Some(record) = arrived.events.pop_front() {
            if let Err(problem) = decode_record(&record).and_then(|past| replay.take(&past)) {
                self.replaying = None;
                self.leave_damaged(id, &problem);
                return true;
            }
            taken += 1;
            if taken == EVENTS_AT_ONCE || turn.is_over() {
                break;
            }
        }
        if arrived.events.is_empty() {
            self.loads.replayed();
            if whole && let Some(replay) = self.replaying.take() {
                self.bring_back(replay, turn);
            }
        }
        true
    }

    /// The history that came is empty, or its run is over: nobody asks the code of such a run.
    fn nothing_to_replay(&mut self, id: RunId, now: Timestamp) {
        let over = self.loads.arrived().is_some_and(|arrived| !arrived.events.is_empty());
        self.loads.replayed();
        let waiting = self.loads.take_waiting(id);
        if over {
            waiting.into_iter().for_each(|waiting| self.give_up(id, waiting.reference));
        } else {
            self.begin_waiting(id, waiting, now);
        }
    }

    /// Brings a run back into memory, with what waits for it.
    fn bring_back(&mut self, replay: Replay, turn: &Turn<'_>) {
        let (id, now) = (replay.state().id, turn.now);
        let waiting = self.loads.take_waiting(id);
        if replay.state().closed.is_some() {
            return waiting.into_iter().for_each(|waiting| self.give_up(id, waiting.reference));
        }
        let state = replay.state();
        let adopted = Event::RunAdopted { lease: self.lease, worker: self.config.worker.clone() };
        let adoption = (state.lease != Some(self.lease)).then_some(adopted);
        if replay.is_unknown() {
            return self.leave_to_others(replay.into_run(adoption), waiting, now);
        }
        let terms = Terms { adoption, hold: self.hold(state) };
        let (run, progress) = replay.finish(terms, turn);
        let mut live = Live::new(run);
        live.has_row = true;
        let in_flight: Vec<CommandId> = live.run.state.activities_in_flight().collect();
        self.runs.insert(id, Box::new(live));
        self.absorb(id, progress, &[], now);
        if !self.refused.contains_key(&id) {
            self.go_on(id, in_flight, now);
        }
        for waiting in waiting {
            self.take_in(id, waiting, now);
        }
        self.evict_if_idle(id);
    }

    /// A history that cannot be: its run is left alone, where people see it, and its messages stay in the inbox.
    fn leave_damaged(&mut self, id: RunId, problem: &str) {
        tracing::error!(run = %id, "the run is left alone: {problem}");
        self.loads.leave(id);
        self.loads.take_waiting(id);
        let waiting_on = Some(format!("stalled: the run is left alone: {problem}"));
        let row = OpenRow { state: OpenState::Stalled, wake_at: None, waiting_on };
        let mut group = Group::new(id);
        group.row = Some(RowChange::Open { workflow: None, row });
        self.outbox.push(group);
        self.refused.insert(id, problem.to_owned());
    }

    /// Has the code of a released run take in more of what waited for it. Whether there is such a run.
    pub(super) fn release_some(&mut self, turn: &Turn<'_>) -> bool {
        let Some(id) = self.releasing.pop_first() else { return false };
        let Some(live) = self.runs.get_mut(&id) else { return true };
        if live.run.can_release() {
            let mut progress = Default::default();
            live.run.release(turn, &mut progress);
            self.absorb(id, progress, &[], turn.now);
            self.evict_if_idle(id);
        }
        true
    }

    /// Dispatches what was in flight when a run's former owner lost it.
    fn go_on(&mut self, id: RunId, in_flight: Vec<CommandId>, now: Timestamp) {
        for call in &in_flight {
            self.count_loss(id, *call, now);
        }
        if self.is_suspicious(id) && !in_flight.is_empty() {
            return self.suspect(id, now);
        }
        for call in in_flight {
            self.dispatch(id, call, now);
        }
    }

    /// Why a run is not to go on here, whatever its code can do.
    fn hold(&self, state: &RunState) -> Option<String> {
        let (count, max) = (state.event_count(), self.config.history_events_max);
        let too_long = (count >= max).then(|| super::history_too_long(count, max));
        self.refused.get(&state.id).cloned().or(too_long)
    }

    /// An attempt that the log says began ended with its process.
    fn count_loss(&mut self, id: RunId, call: CommandId, now: Timestamp) {
        let suspicious = self.is_suspicious(id);
        let Some(live) = self.runs.get_mut(&id) else { return };
        // Without a suspicion its process need not have died: it may have handed over.
        let is_charged = |activity: &PendingActivity| {
            activity.attempt_logged
                && (suspicious || activity.options.at_most_once)
                && !canary::is(Bug::LossUncounted)
        };
        if live.run.state.activities.get(&call).is_some_and(|activity| is_charged(activity)) {
            let progress = live.run.attempt_lost(now, call);
            self.absorb(id, progress, &[], now);
        }
    }

    /// Has a run wait for its turn to execute what may kill its process.
    pub(super) fn suspect(&mut self, id: RunId, now: Timestamp) {
        if !self.suspects.contains(&id) {
            self.suspects.push_back(id);
        }
        if self.suspects.front() == Some(&id) {
            self.dispatch_suspect(now);
        }
    }

    /// Dispatches the activities of the first run under suspicion. Were they all dispatched at once, a crash
    /// would not tell which of them kills its process.
    pub(super) fn dispatch_suspect(&mut self, now: Timestamp) {
        while let Some(id) = self.suspects.front().copied() {
            let calls: Vec<CommandId> = match self.runs.get(&id) {
                Some(live) => live.due_activities(),
                None => Vec::new(),
            };
            for call in calls {
                self.dispatch(id, call, now);
            }
            if self.runs.get(&id).is_some_and(|live| !live.is_quiet()) {
                return;
            }
            self.suspects.pop_front();
        }
    }

    /// The next run under suspicion has its turn when the executor has nothing more of the one before.
    pub(super) fn pass_suspicion_on(&mut self, id: RunId, now: Timestamp) {
        if self.suspects.front() == Some(&id) && self.runs.get(&id).is_none_or(|live| live.is_quiet()) {
            self.suspects.pop_front();
            self.dispatch_suspect(now);
        }
    }

    /// Whether the run may be what its shard's owners keep dying of.
    pub(super) fn is_suspicious(&self, id: RunId) -> bool {
        self.shards.get(&id.shard()).is_some_and(|shard| shard.suspicious)
    }
}

/// Whether a history ends with this event: its run is over. What cannot be decoded is for the replay to report.
fn is_terminal(last: &EventRecord) -> bool {
    let last = wire::decode_event(last.name.as_str(), &last.body);
    last.is_ok_and(|last| super::batch::closed_status(&last).is_some())
}
