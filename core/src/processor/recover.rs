//! Recovery: runs come back from their histories, after a takeover, for a message, or for a deadline.

use super::{Effect, Live, Processor};
use crate::canary::{self, Bug};
use crate::event::{Event, wire};
use crate::id::{CommandId, RunId};
use crate::run::{PendingActivity, Replay, RunState, Terms, decode};
use crate::store::{Load, RunHistory};
use crate::time::Timestamp;

/// How many runs are loaded at once.
pub(super) const PAGE: u32 = 500;

impl Processor {
    /// Histories that were asked for.
    pub(crate) fn loaded(&mut self, load: Load, histories: Vec<RunHistory>, now: Timestamp) {
        if let Load::Unparked { shards, limit, .. } = &load
            && histories.len() >= *limit as usize
        {
            let after = histories.last().map(|history| history.run);
            let next = Load::Unparked { shards: shards.clone(), after, limit: *limit };
            self.recovery.push_back(next);
        }
        let unparked = matches!(load, Load::Unparked { .. });
        for history in histories {
            self.recover(history, unparked, now);
        }
        if let Load::Runs(runs) = load {
            for run in runs {
                let waiting = self.loading.remove(&run).unwrap_or_default();
                self.begin_waiting(run, waiting, now);
            }
        }
    }

    fn recover(&mut self, history: RunHistory, unparked: bool, now: Timestamp) {
        let id = history.run;
        if self.runs.contains_key(&id) || self.refused.contains_key(&id) && !self.loading.contains_key(&id) {
            return;
        }
        let waiting = match (self.loading.remove(&id), unparked) {
            // Somebody else asked for it, for a message or a deadline, and waits for the answer.
            (Some(waiting), true) => {
                self.to_load.retain(|run| *run != id);
                waiting
            }
            (waiting, _) => waiting.unwrap_or_default(),
        };
        let Some(last) = history.events.last() else { return self.begin_waiting(id, waiting, now) };
        // Nobody asks the code of a run that is over.
        let last = wire::decode_event(last.name.as_str(), &last.body);
        if last.is_ok_and(|last| super::batch::closed_status(&last).is_some()) {
            for waiting in waiting {
                self.give_up(id, waiting.reference);
            }
            return;
        }
        if self.bring_back(&history, now) {
            for waiting in waiting {
                self.take_in(id, waiting, now);
            }
            self.evict_if_idle(id);
        }
    }

    /// Brings a run back into memory. Whether that was possible.
    fn bring_back(&mut self, history: &RunHistory, now: Timestamp) -> bool {
        let id = history.run;
        let registry = self.registry.clone();
        let mut replay = Replay::new(id, &registry, now);
        for past in decode(history) {
            match past {
                Ok(past) => replay.take(&past),
                Err(error) => {
                    tracing::error!(run = %id, "the run is left alone: {error}");
                    return false;
                }
            }
        }
        let state = replay.state();
        if replay.is_unknown() {
            let workflow = &state.workflow;
            tracing::warn!(run = %id, %workflow, "no workflow of this name is registered here: the run waits");
            return false;
        }
        let adopted = Event::RunAdopted { lease: self.lease, worker: self.config.worker.clone() };
        let adoption = (state.lease != Some(self.lease)).then_some(adopted);
        let terms = Terms { adoption, hold: self.hold(state) };
        let (run, progress) = replay.finish(terms);
        let mut live = Live::new(run);
        live.has_row = true;
        let in_flight: Vec<CommandId> = live.run.state.activities_in_flight().collect();
        self.runs.insert(id, Box::new(live));
        self.absorb(id, progress, None, now);
        if !self.refused.contains_key(&id) {
            self.go_on(id, in_flight, now);
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
            self.absorb(id, progress, None, now);
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

    /// The store refuses what this run writes: everything of it that is queued is dropped, it stalls, and
    /// nothing more is written for it until another worker takes over.
    pub(super) fn refuse(&mut self, id: RunId, reason: &str, now: Timestamp) {
        tracing::error!(run = %id, "the store refuses what the run writes: {reason}");
        self.outbox.groups.retain(|group| group.run != id);
        if let Some(live) = self.forget(id) {
            let under_way = live.running.keys().chain(&live.steps);
            self.outbox.effects.extend(under_way.map(|call| Effect::Abort { run: id, id: *call }));
        }
        let reason = format!("the store refuses what the run writes: {reason}");
        // Refused again, not even its stall can be written.
        if self.refused.insert(id, reason).is_none() {
            self.load(id, Vec::new());
        }
        self.pass_suspicion_on(id, now);
    }
}
