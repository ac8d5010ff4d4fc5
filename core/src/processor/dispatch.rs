//! Handing work to the executor, and taking outcomes back. Nothing begins before its cause is committed.

use crate::data::failure::Failure;
use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::data::payload::{Payload, payload_too_large};
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::processor::batch::Group;
use crate::processor::{Attempt, Effect, Live, Processor};

impl Processor {
    /// Has the next attempt of an activity executed, once everything that led to it is committed.
    pub(super) fn dispatch(&mut self, id: RunId, call: CommandId, now: Timestamp) {
        // Of several, none could be charged for the end of the process.
        let suspect = self.suspects.is_tried_alone(id);
        let Some(live) = self.runs.get_mut(&id) else { return };
        let Some(activity) = live.run.state.activities.get(&call) else { return };
        // One that is out of time fails as soon as its deadline is looked at: its code would run for nothing.
        let limit = activity.options.schedule_to_close;
        let late = limit.is_some_and(|limit| activity.scheduled_at.saturating_add(limit) <= now);
        if late || live.running.contains_key(&call) {
            return;
        }
        if self.registry.activity(&activity.name).is_none() {
            let activity_name = activity.name.clone();
            tracing::warn!(
                run = %id, activity = %activity.name,
                "no activity of this name is registered here: it stays scheduled until a worker that knows it \
                 takes over"
            );
            return self.show_unknown_activity(id, activity_name);
        }
        let attempt = Attempt {
            run: id,
            id: call,
            attempt: activity.attempt,
            activity: activity.name.clone(),
            input: activity.input.clone(),
            options: activity.options.clone(),
            workflow: live.run.state.workflow.clone(),
            key: live.run.state.key.clone(),
            scheduled_at: activity.scheduled_at,
        };
        live.running.insert(call, attempt.attempt);
        // That a retry is under way is in no event, but people see it.
        if live.run.state.has_retries() {
            let mut group = Group::new(id);
            live.set_row(&mut group);
            live.queue(group, &mut self.outbox);
        }
        if attempt.options.at_most_once || suspect {
            let progress = live.run.attempt_started(now, call, attempt.attempt);
            self.absorb(id, progress, &[], now);
        }
        if let Some(live) = self.runs.get_mut(&id) {
            live.cause(Effect::Execute(attempt), &mut self.outbox);
        }
    }

    /// Tells in the run's row what it waits on: nobody here can execute it.
    fn show_unknown_activity(&mut self, id: RunId, activity: Name) {
        if let Some(live) = self.runs.get_mut(&id) {
            live.unknown_activity = Some(activity);
            let mut group = Group::new(id);
            live.set_row(&mut group);
            live.queue(group, &mut self.outbox);
        }
    }

    /// An attempt could not begin: the activity's code cannot read its input. It stays scheduled, and the run
    /// stalls until code that can read it takes over.
    pub(crate) fn attempt_impossible(&mut self, id: RunId, call: CommandId, problem: String, now: Timestamp) {
        let Some(live) = self.runs.get_mut(&id) else { return };
        let wanted = live.running.remove(&call).is_some() && live.run.state.activities.contains_key(&call);
        if wanted && live.run.state.stalled.is_none() && live.run.state.ending.is_none() {
            let progress = live.run.stall(now, problem);
            self.absorb(id, progress, &[], now);
        } else if wanted {
            tracing::error!(run = %id, "the run waits for a worker that can: {problem}");
        }
        self.evict_if_idle(id);
    }

    /// An attempt of an activity ended.
    pub(crate) fn attempt_ended(
        &mut self,
        id: RunId,
        call: CommandId,
        attempt: u32,
        result: Result<Payload, Failure>,
        now: Timestamp,
    ) {
        let Some(live) = self.runs.get_mut(&id) else { return };
        if live.running.get(&call) != Some(&attempt) {
            return;
        }
        live.running.remove(&call);
        let result = limit_payload(result, self.registry.payload_bytes_max(), || {
            let activity = live.run.state.activities.get(&call).map(|activity| activity.name.clone());
            format!("the result of activity `{}`", activity.unwrap_or_default())
        });
        // Should the clock have stepped back: a retry comes after those that were handed out.
        let now = live.retried.map_or(now, |retried| now.max(retried.at));
        let progress = live.run.attempt_ended(now, call, attempt, result);
        self.absorb(id, progress, &[], now);
        self.evict_if_idle(id);
    }

    /// A step's last attempt ended.
    pub(crate) fn step_ended(
        &mut self,
        id: RunId,
        call: CommandId,
        step: Name,
        result: Result<Payload, Failure>,
        now: Timestamp,
    ) {
        let Some(live) = self.runs.get_mut(&id) else { return };
        if !live.steps.remove(&call) || live.run.state.closed.is_some() {
            return;
        }
        let what = || format!("the result of step `{step}`");
        let resolution = match limit_payload(result, self.registry.payload_bytes_max(), what) {
            Ok(result) => Event::StepCompleted { id: call, step, result },
            Err(failure) => Event::StepFailed { id: call, step, failure },
        };
        let progress = live.run.resolve(now, resolution);
        self.absorb(id, progress, &[], now);
        self.evict_if_idle(id);
    }
}

impl Live {
    /// Whether the executor has nothing of this run.
    pub(super) fn is_quiet(&self) -> bool {
        self.running.is_empty() && self.steps.is_empty()
    }
}

/// A result over the limit never reaches the store: the attempt failed, and so would another.
fn limit_payload(
    result: Result<Payload, Failure>,
    limit: usize,
    what: impl FnOnce() -> String,
) -> Result<Payload, Failure> {
    match result {
        Ok(payload) if payload.bytes().len() > limit => {
            let message = payload_too_large(&what(), payload.bytes().len(), limit);
            Err(Failure::new("payload-too-large", message).non_retryable())
        }
        Err(failure) => Err(failure.bounded(limit)),
        Ok(payload) => Ok(payload),
    }
}
