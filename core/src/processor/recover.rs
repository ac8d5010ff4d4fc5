//! Recovery: runs come back from their histories, after a takeover, for a message, or for a deadline. A history is
//! replayed some events at a time, so that a long one holds nothing up.

use crate::canary::{self, Bug};
use crate::data::id::{CommandId, RunId};
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::log::message::Message;
use crate::log::past_event::decode_record;
use crate::log::wire;
use crate::processor::batch::{Group, RowChange};
use crate::processor::{Live, Processor, Recovery, Waiting};
use crate::run::replay::{Replay, Terms};
use crate::run::state::{PendingActivity, RunState};
use crate::run::turn::Turn;
use crate::store::append::{OpenRow, OpenState};
use crate::store::history::{EventRecord, Load, Loaded, Unparked};

/// How many events are replayed before something else has its turn.
const EVENTS_AT_ONCE: usize = 64;

impl Processor {
    /// Busy and stalled runs that were asked for. Those that are in memory have gone on since, or will: only what is not
    /// there is loaded.
    pub(crate) fn listed(&mut self, asked: Unparked, found: &[RunId]) {
        for run in found.iter().copied() {
            let in_memory = self.runs.contains_key(&run) && !canary::is(Bug::Revived);
            if in_memory || self.refused.contains_key(&run) || self.loads.expects(run) {
                continue;
            }
            if self.may_work_on(run) {
                self.loads.want_recovered(run);
            } else {
                self.loads.hold(run, Vec::new());
            }
        }
        self.loads.listed(asked, found);
        self.tell_recovery();
    }

    /// Says how many runs came back, once all have.
    fn tell_recovery(&mut self) {
        if self.loads.is_recovering() {
            return;
        }
        if let Some(Recovery { since, runs }) = self.recovery.take() {
            let (lease, shards) = (self.lease, self.shards.len());
            tracing::info!(%lease, shards, runs, recovering_since = %since, "recovered");
        }
    }

    /// Has a run loaded, as soon as it may be worked on.
    pub(super) fn want(&mut self, run: RunId, waiting: Vec<Waiting>) {
        if self.loads.expects(run) || self.may_work_on(run) {
            self.loads.want(run, waiting);
        } else {
            self.loads.hold(run, waiting);
        }
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
            self.worked_on = Some(id);
            let judged = self.suspects.is_judged(id).then(|| "it is under suspicion".to_owned());
            self.replaying = Some(match self.refused.get(&id).cloned().or(judged) {
                Some(why) => Replay::without_code(id, self.registry.clone(), turn.now, why),
                None => Replay::new(id, self.registry.clone(), turn.now),
            });
        }
        let (Some(replay), Some(arrived)) = (&mut self.replaying, self.loads.arrived()) else { return false };
        let mut taken = 0;
        while let Some(record) = arrived.events.pop_front() {
            if let Err(problem) = decode_record(&record).and_then(|past| replay.take(&past)) {
                let over = replay.state().closed.is_some();
                self.replaying = None;
                self.leave_damaged(id, over, &problem);
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
                self.recovery.iter_mut().for_each(|recovery| recovery.runs += 1);
                self.bring_back(replay, turn);
                self.tell_recovery();
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
        if self.suspects.is_judged(id) {
            return self.judge(replay, waiting);
        }
        let state = replay.state();
        let adopted = Event::RunAdopted { lease: self.lease, worker: self.config.worker.clone() };
        let adoption = (state.lease != Some(self.lease)).then_some(adopted);
        if replay.is_unknown() {
            return self.leave_to_others(replay.into_run(adoption), waiting, now);
        }
        let terms = Terms { adoption, hold: self.hold(state), told_again: self.refused.contains_key(&id) };
        let (run, progress) = replay.finish(terms, turn);
        let mut live = Live::new(run);
        live.has_row = true;
        let in_flight: Vec<CommandId> = live.run.state.activities_in_flight().collect();
        self.runs.insert(id, Box::new(live));
        self.absorb(id, progress, &[], now);
        let refused = self.refused.contains_key(&id);
        if !refused {
            self.go_on(id, in_flight, now);
        }
        for waiting in waiting {
            // What a run that is left alone is sent stays in the inbox, unless it ends the run.
            if !refused || matches!(waiting.message, Message::Terminate { .. }) {
                self.take_in(id, waiting, now);
            }
        }
        self.evict_if_idle(id);
    }

    /// A history that cannot be: its run is left alone, where people see it, and its messages stay in the inbox.
    fn leave_damaged(&mut self, id: RunId, over: bool, problem: &str) {
        tracing::error!(run = %id, "the run is left alone: {problem}");
        self.loads.leave(id);
        self.loads.take_waiting(id);
        self.refused.insert(id, problem.to_owned());
        if over {
            // It has no row to say so.
            return;
        }
        let waiting_on = Some(format!("stalled: the run is left alone: {problem}"));
        let row = OpenRow { state: OpenState::Stalled, wake_at: None, waiting_on };
        let mut group = Group::new(id);
        group.row = Some(RowChange::Open { workflow: None, row });
        self.outbox.push(group);
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
        for call in in_flight {
            self.dispatch(id, call, now);
        }
    }

    /// Decides on a run that died alone too often. If it was an attempt each time, that is charged and the run goes on;
    /// if not, its code is at fault.
    fn judge(&mut self, replay: Replay, waiting: Vec<Waiting>) {
        let id = replay.state().id;
        let attempts = replay.state().activities.values().any(|activity| activity.attempt_logged);
        if attempts && self.suspects.died_alone(id) {
            self.acquit_code(id);
        } else {
            self.set_aside(id);
        }
        // Once more, with its code or without it.
        self.want(id, waiting);
    }

    /// Why a run is not to go on here, whatever its code can do.
    fn hold(&self, state: &RunState) -> Option<String> {
        let (count, max) = (state.event_count(), self.config.history_events_max);
        let too_long = (count >= max).then(|| super::history_too_long(count, max));
        self.refused.get(&state.id).cloned().or(too_long)
    }

    /// An attempt that the log says began ended with its process.
    fn count_loss(&mut self, id: RunId, call: CommandId, now: Timestamp) {
        let died_alone = self.suspects.died_alone(id);
        let Some(live) = self.runs.get_mut(&id) else { return };
        // Its process need not have died of it: it may have handed over, or died with something else.
        let is_charged = |activity: &PendingActivity| {
            activity.attempt_logged
                && (died_alone || activity.options.at_most_once)
                && !canary::is(Bug::LossUncounted)
        };
        if live.run.state.activities.get(&call).is_some_and(|activity| is_charged(activity)) {
            let progress = live.run.attempt_lost(now, call);
            self.absorb(id, progress, &[], now);
        }
    }
}

/// Whether a history ends with this event: its run is over. What cannot be decoded is for the replay to report.
fn is_terminal(last: &EventRecord) -> bool {
    let last = wire::decode_event(last.name.as_str(), &last.body);
    last.is_ok_and(|last| last.is_terminal())
}
