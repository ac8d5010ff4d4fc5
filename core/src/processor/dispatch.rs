//! Hands attempts to the executor, takes their outcomes back, and fires deadlines, which begin retries. Nothing begins
//! before its cause is committed. It must not know how code is executed.

use crate::data::failure::Failure;
use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::data::payload::{Payload, payload_too_large};
use crate::data::time::Timestamp;
use crate::log::attempt::Attempt;
use crate::log::event::Event;
use crate::processor::Processor;
use crate::processor::effect::Effect;
use crate::processor::record::Recorder;
use crate::processor::runs::RunEntry;
use crate::run::pending::PendingActivity;
use crate::run::state::DeadlineKind;

impl Recorder<'_> {
    /// Has the next attempts of these activities executed, once everything that led to them is committed.
    pub(super) fn dispatch(&mut self, id: RunId, calls: Vec<CommandId>, now: Timestamp) {
        if calls.is_empty() {
            return;
        }
        // The next owner of the shard begins them, or the end of the pause.
        let paused = self.runs.get(id).is_some_and(|live| live.state().paused.is_some());
        if paused || !self.shards.keeps(id.shard()) {
            return;
        }
        let mut tasks = Vec::new();
        for call in calls {
            let Some(attempt) = self.runs.get(id).and_then(|live| live.next_attempt(call, now)) else {
                continue;
            };
            match self.activity_queue(&attempt) {
                Some(queue) => tasks.push((call, queue)),
                None => self.execute(Box::new(attempt), now),
            }
        }
        self.enqueue(id, tasks, None, now);
    }

    /// The activity queue of an attempt that becomes a task: the workflow asks for one, the activity is unknown here, or it
    /// records its outcome itself, for which it needs the task's row.
    fn activity_queue(&mut self, attempt: &Attempt) -> Option<Name> {
        let options = attempt.options.get();
        if let Some(queue) = &options.queue {
            return Some(queue.clone());
        }
        let queue = &self.setup.config.activity_queue;
        if let Some(activity) = self.setup.registry.activity(&attempt.activity) {
            return (options.transactional || activity.code.is_transactional()).then(|| queue.clone());
        }
        if self.unknown_activities.insert(attempt.activity.clone()) {
            tracing::warn!(
                run = %attempt.run, activity = %attempt.activity, %queue,
                "no activity of this name is registered here: it becomes a task for a worker that has it, and so do its later \
                 ones"
            );
        }
        Some(queue.clone())
    }

    /// Has an attempt executed in this process.
    fn execute(&mut self, attempt: Box<Attempt>, now: Timestamp) {
        let (id, call) = (attempt.run, attempt.id);
        // If several suspects are tried, none of their attempts could be charged for the death of the process.
        let suspect = self.suspects.is_tried_alone(id);
        let Some(live) = self.runs.get_mut(id) else { return };
        live.executing().begin_attempt(call, attempt.attempt);
        // No event says that a retry is in progress, but the row shows it to people.
        if live.state().has_retries() {
            live.write_row(self.outbox);
        }
        if !attempt.options.get().at_most_once && !suspect {
            return live.cause(Effect::Execute(attempt), self.outbox);
        }
        let progress = live.run().attempt_started(now, call, attempt.attempt);
        self.record(id, progress, &[], now);
        if let Some(live) = self.runs.get_mut(id) {
            live.cause(Effect::Execute(attempt), self.outbox);
        }
    }

    /// Fires the first deadline of a run.
    pub(super) fn fire(&mut self, id: RunId, now: Timestamp) {
        let Some(entry) = self.runs.entry(id) else { return };
        let Some(deadline) = entry.live.next_deadline() else { return entry.update_order() };
        let live = entry.live;
        let progress = match deadline.kind {
            DeadlineKind::Timer => live.run().resolve(now, Event::TimerFired { id: deadline.id }),
            DeadlineKind::ScheduleToClose => {
                let activity = live.state().activities.get(deadline.id);
                if activity.is_some_and(PendingActivity::may_settle_itself) {
                    self.expire_task(id, deadline);
                    return self.runs.entry(id).into_iter().for_each(RunEntry::update_order);
                }
                live.run().activity_out_of_time(now, deadline.id)
            }
            DeadlineKind::Run => live.run().resolve(now, Event::DeadlinePassed { deadline: deadline.at }),
            DeadlineKind::Grace => live.run().grace_over(now),
            DeadlineKind::Retry => {
                live.retry(deadline);
                self.dispatch(id, vec![deadline.id], now);
                return self.runs.entry(id).into_iter().for_each(RunEntry::update_order);
            }
        };
        self.record(id, progress, &[], now);
    }
}

impl Processor {
    /// An attempt could not begin, because the activity's code cannot read its input. The activity stays scheduled, and the
    /// run stalls until a worker whose code can read it takes over.
    pub(crate) fn attempt_impossible(&mut self, id: RunId, call: CommandId, problem: String, now: Timestamp) {
        let mut recorder = self.recorder();
        let Some(live) = recorder.runs.get_mut(id) else { return };
        let wanted = live.executing().drop_attempt(call) && live.state().activities.contains(call);
        if wanted && live.state().stalled.is_none() && live.state().ending.is_none() {
            let progress = live.run().stall(now, problem);
            recorder.record(id, progress, &[], now);
        } else if wanted && recorder.outbox.allows_line("activity.unreadable") {
            tracing::error!(run = %id, "the run waits for a worker that can read it: {problem}");
        }
        recorder.evict_if_idle(id);
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
        let mut recorder = self.recorder();
        let Some(live) = recorder.runs.get_mut(id) else { return };
        if !live.executing().end_attempt(call, attempt) {
            return;
        }
        let result = limit_payload(result, recorder.setup.registry.payload_bytes_max(), || {
            let activity = live.state().activities.get(call).map(|activity| activity.name.clone());
            format!("the result of activity `{}`", activity.unwrap_or_default())
        });
        let now = live.outcome_at(now);
        let progress = live.run().attempt_ended(now, call, attempt, result);
        recorder.record(id, progress, &[], now);
        recorder.evict_if_idle(id);
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
        let mut recorder = self.recorder();
        let Some(live) = recorder.runs.get_mut(id) else { return };
        if !live.executing().end_step(call) || live.is_over() {
            return;
        }
        let what = || format!("the result of step `{step}`");
        let resolution = match limit_payload(result, recorder.setup.registry.payload_bytes_max(), what) {
            Ok(result) => Event::StepCompleted { id: call, step, result },
            Err(failure) => Event::StepFailed { id: call, step, failure },
        };
        let progress = live.run().resolve(now, resolution);
        recorder.record(id, progress, &[], now);
        recorder.evict_if_idle(id);
    }
}

/// Turns a result over the limit into a failure that is not retried.
pub(super) fn limit_payload(
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
