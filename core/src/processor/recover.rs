//! Recovery: runs come back from their histories, after a takeover, for a message, or for a deadline.

use super::{Effect, Live, Processor};
use crate::canary::{self, Bug};
use crate::event::{Event, Name, Role};
use crate::id::{CommandId, LeaseId, RunId};
use crate::run::{PastEvent, PendingActivity, Terms, decode_history, replay};
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
        let past = match decode_history(&history) {
            Ok(past) => past,
            Err(error) => {
                tracing::error!(run = %id, "the run is left alone: {error}");
                return;
            }
        };
        let Some(last) = past.last() else { return self.begin_waiting(id, waiting, now) };
        if super::batch::closed_status(&last.event).is_some() {
            for waiting in waiting {
                self.give_up(id, waiting.reference);
            }
            return;
        }
        if let Some(workflow) = self.unknown_workflow(&past) {
            tracing::warn!(run = %id, %workflow, "no workflow of this name is registered here: the run waits");
            return;
        }
        self.bring_back(id, &past, now);
        for waiting in waiting {
            self.take_in(id, waiting, now);
        }
        self.evict_if_idle(id);
    }

    fn bring_back(&mut self, id: RunId, past: &[PastEvent], now: Timestamp) {
        let adopted = Event::RunAdopted { lease: self.lease, worker: self.config.worker.clone() };
        let adoption = (last_lease(past) != Some(self.lease)).then_some(adopted);
        let terms = Terms { adoption, hold: self.hold(id, past) };
        let (run, progress) = replay(id, past, &self.registry, terms, now);
        let mut live = Live::new(run);
        live.has_row = true;
        let in_flight: Vec<CommandId> = live.run.state.activities_in_flight().collect();
        self.runs.insert(id, Box::new(live));
        self.absorb(id, progress, None, now);
        if self.refused.contains_key(&id) {
            return;
        }
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
    fn hold(&self, id: RunId, past: &[PastEvent]) -> Option<String> {
        let (count, max) = (past.len() as u32, self.config.history_events_max);
        let too_long = (count >= max).then(|| super::history_too_long(count, max));
        self.refused.get(&id).cloned().or(too_long)
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

    fn unknown_workflow(&self, past: &[PastEvent]) -> Option<Name> {
        past.iter().find_map(|past| {
            let Event::RunStarted { workflow, .. } = &past.event else { return None };
            (!self.registry.knows_workflow(workflow)).then(|| workflow.clone())
        })
    }
}

/// The lease under which the run was last written to.
fn last_lease(past: &[PastEvent]) -> Option<LeaseId> {
    past.iter().rev().filter(|past| past.event.role() != Role::Decision).find_map(|past| match past.event {
        Event::RunStarted { lease, .. } | Event::RunAdopted { lease, .. } => Some(lease),
        _ => None,
    })
}
