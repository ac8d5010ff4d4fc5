//! How each event changes the state of its run. It must not decide anything: that was done before the event was
//! appended.

use std::sync::Arc;

use super::{CancelRequest, Deadline, DeadlineKind, Pause, RunLimits, RunState};
use crate::data::child::Parent;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, MessageId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::outcome::Outcome;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::log::event::{Event, Role};
use crate::log::past_event::PastEvent;
use crate::run::pending::{
    FailedCompensations, LastFailure, PendingActivity, PendingCompensation, PendingTask, Round,
};
use crate::store::append::ClosedStatus;

impl RunState {
    /// Applies the next event.
    #[expect(clippy::too_many_lines, reason = "an arm for each event")]
    pub(crate) fn apply(&mut self, at: Timestamp, event: &Event) {
        assert!(self.closed.is_none(), "run {}: {} after its terminal event", self.id, event.name());
        self.seq = Some(self.next_seq());
        self.now = self.now.max(at);
        if event.role() == Role::Resolution && self.queues_for(event) {
            let seq = self.seq.expect("it was just set");
            self.payload_bytes += payload_bytes(event);
            self.waiting.push_back(PastEvent { seq, at, event: event.clone() });
        }
        match event {
            Event::RunStarted { .. } => self.started(event),
            Event::RunAdopted { lease, .. } => self.lease = Some(*lease),
            Event::ActivityScheduled { id, activity, input, options } => {
                self.schedule(*id, activity, input, options, false);
            }
            Event::ActivityAttemptStarted { id, attempt } => self.attempt_started(*id, *attempt),
            Event::ActivityAttemptFailed { id, attempt, failure, retry_at } => {
                self.attempt_failed(*id, *attempt, failure, *retry_at);
            }
            Event::RetryRequested { message } => {
                self.messages.insert(*message, at);
                self.retry_at_once();
            }
            Event::ActivityEnqueued { id, attempt, queue, .. } => self.attempt_enqueued(*id, *attempt, queue),
            Event::ActivityAttemptLost { id, .. } => self.attempt_lost(*id),
            Event::ActivityCompleted { id, .. }
            | Event::ActivityFailed { id, .. }
            | Event::ActivityCancelled { id }
            | Event::CompensationCompleted { id } => {
                self.remove_activity(*id);
            }
            Event::CompensationFailed { id, failure } => self.compensation_failed(*id, failure),
            Event::StepCompleted { .. }
            | Event::StepFailed { .. }
            | Event::ValueRecorded { .. }
            // The ids of children have the shards.
            | Event::QueueResolved { .. }
            | Event::SignalSent { .. }
            // The store finds the last value of a view in the log.
            | Event::ViewPublished { .. } => {}
            Event::AttributeSet { attribute, value } => self.attributes.set(attribute.clone(), value.clone()),
            Event::ChildStarted { .. }
            | Event::ChildCarried { .. }
            | Event::ChildBound { .. }
            | Event::ChildCompleted { .. }
            | Event::ChildFailed { .. }
            | Event::ChildCancelRequested { .. }
            | Event::ChildCancelled { .. } => self.children.apply(event),
            Event::TimerStarted { id, fire_at } => {
                self.start_timer(*id, *fire_at);
            }
            Event::TimerFired { id } | Event::TimerCancelled { id } => self.remove_timer(*id),
            Event::SignalReceived { message, .. } => {
                self.messages.insert(*message, at);
            }
            Event::MessagesKnown { messages } => {
                messages.0.iter().for_each(|known| _ = self.messages.insert(known.message, known.at));
            }
            Event::UpdateReceived { message, request, .. } => {
                self.messages.insert(*message, at);
                self.updates.insert(*message, request);
            }
            Event::UpdateReplied { message, .. } | Event::UpdateDropped { message, .. } => {
                self.updates.remove(*message);
            }
            Event::CancelRequested { message, reason } => {
                self.messages.insert(*message, at);
                self.cancel.get_or_insert_with(|| Box::new(CancelRequest { reason: reason.clone() }));
            }
            Event::DeadlinePassed { .. } => self.deadline_passed(),
            Event::RunPaused { message, reason } => {
                self.pause(*message, Some(Pause { reason: reason.clone() }));
            }
            Event::RunUnpaused { message } => self.pause(*message, None),
            Event::RunStalled { reason } => self.stalled = Some(reason.as_str().into()),
            Event::RunResumed { released } => {
                self.stalled = None;
                let released = self.waiting.drain(..self.waiting.len().min(*released as usize));
                self.payload_bytes -= released.map(|past| payload_bytes(&past.event)).sum::<usize>();
            }
            Event::CompensationRegistered { id, activity, input, options } => {
                let (activity, input, options) = (activity.clone(), input.clone(), options.clone());
                self.register(*id, PendingCompensation { activity, input, options });
            }
            Event::CompensationDiscarded { id } => self.discard(*id),
            Event::CompensationsBegun { id } => self.begin_round(*id),
            Event::CompensationsEnded { id, .. } => self.rounds.retain(|round| round.id != *id),
            Event::RunEnding { outcome, .. } => self.end(outcome),
            Event::CompensationScheduled { id } => self.compensate(*id),
            Event::RunCompleted { .. } => self.close(ClosedStatus::Completed),
            Event::RunFailed { .. } => self.close(ClosedStatus::Failed),
            Event::RunCancelled { .. } => self.close(ClosedStatus::Cancelled),
            Event::RunTerminated { .. } => self.close(ClosedStatus::Terminated),
            Event::RunContinued { .. } => self.close(ClosedStatus::Continued),
            Event::RunRetried { .. } => self.close(ClosedStatus::Retried),
            Event::RunTimedOut { .. } => self.close(ClosedStatus::TimedOut),
        }
    }

    fn started(&mut self, event: &Event) {
        let Event::RunStarted {
            workflow,
            input,
            key,
            start_at,
            lease,
            parent,
            parent_call,
            chain,
            run_retry,
            deadline,
            grace_until,
            trace,
            // Its children follow.
            carried: _,
            attributes,
        } = event
        else {
            return;
        };
        self.workflow = workflow.clone();
        self.input = Some(input.clone());
        self.key = key.as_deref().map(Box::from);
        self.chain = chain.map(Box::new);
        self.retry.clone_from(run_retry);
        self.trace.clone_from(trace);
        self.attributes.clone_from(attributes);
        self.lease = Some(*lease);
        self.parent = parent.zip(*parent_call).map(|(run, call)| Box::new(Parent { run, call }));
        if let Some(at) = *start_at {
            self.start_timer(CommandId::START_DELAY, at);
        }
        if let Some(deadline) = *deadline {
            self.limit(deadline, *grace_until);
        }
    }

    fn pause(&mut self, message: MessageId, pause: Option<Pause>) {
        self.messages.insert(message, self.now);
        self.paused = pause.map(Box::new);
    }

    fn schedule(
        &mut self,
        id: CommandId,
        name: &Name,
        input: &Payload,
        options: &ActivityOptions,
        compensation: bool,
    ) {
        if let Some(limit) = options.get().schedule_to_close {
            let at = self.now.saturating_add(limit);
            self.deadlines.insert(Deadline { at, kind: DeadlineKind::ScheduleToClose, id });
        }
        let activity = PendingActivity {
            name: name.clone(),
            input: input.clone(),
            options: options.clone(),
            scheduled_at: self.now,
            attempt: 1,
            attempt_logged: false,
            lost: 0,
            task: None,
            retry_at: None,
            last_failure: None,
            compensation,
        };
        self.payload_bytes += activity.input.bytes().len();
        self.activities.insert(id, activity);
    }

    fn attempt_started(&mut self, id: CommandId, attempt: u32) {
        if let Some(activity) = self.activities.get_mut(id) {
            activity.attempt = attempt;
            activity.attempt_logged = true;
            if let Some(at) = activity.retry_at.take() {
                self.retries.remove(&Deadline { at, kind: DeadlineKind::Retry, id });
            }
        }
    }

    fn attempt_enqueued(&mut self, id: CommandId, attempt: u32, queue: &Name) {
        self.attempt_started(id, attempt);
        if let Some(activity) = self.activities.get_mut(id) {
            // The store counts how often a task is lost.
            activity.attempt_logged = false;
            self.tasks += u32::from(activity.task.is_none());
            activity.task = self.seq.map(|seq| Box::new(PendingTask { seq, queue: queue.clone() }));
        }
    }

    fn attempt_failed(&mut self, id: CommandId, attempt: u32, failure: &Failure, retry_at: Timestamp) {
        if let Some(activity) = self.activities.get_mut(id) {
            let words: String = failure.to_string().chars().take(limits::LAST_FAILURE_CHARS_MAX).collect();
            self.retried += u32::from(activity.last_failure.is_none());
            activity.last_failure = Some(Arc::new(LastFailure(words)));
            if let Some(at) = activity.retry_at.replace(retry_at) {
                self.retries.remove(&Deadline { at, kind: DeadlineKind::Retry, id });
            }
            self.tasks -= u32::from(activity.task.take().is_some());
            activity.attempt = attempt.saturating_add(1);
            activity.attempt_logged = false;
            self.retries.insert(Deadline { at: retry_at, kind: DeadlineKind::Retry, id });
        }
    }

    fn attempt_lost(&mut self, id: CommandId) {
        if let Some(activity) = self.activities.get_mut(id) {
            activity.lost = activity.lost.saturating_add(1);
            activity.attempt_logged = false;
        }
    }

    /// The attempts that wait for a later time begin now.
    fn retry_at_once(&mut self) {
        let kind = DeadlineKind::Retry;
        while let Some(last) = self.retries.last().copied().filter(|last| last.at > self.now) {
            self.retries.remove(&last);
            self.retries.insert(Deadline { at: self.now, kind, id: last.id });
            if let Some(activity) = self.activities.get_mut(last.id) {
                activity.retry_at = Some(self.now);
            }
        }
    }

    fn remove_activity(&mut self, id: CommandId) -> Option<PendingActivity> {
        let activity = self.activities.remove(id)?;
        self.compensating.take_if(|compensating| *compensating == id);
        self.payload_bytes -= activity.input.bytes().len();
        self.tasks -= u32::from(activity.task.is_some());
        self.retried -= u32::from(activity.last_failure.is_some());
        if let Some(at) = activity.retry_at {
            self.retries.remove(&Deadline { at, kind: DeadlineKind::Retry, id });
        }
        if let Some(limit) = activity.options.get().schedule_to_close {
            let at = activity.scheduled_at.saturating_add(limit);
            self.deadlines.remove(&Deadline { at, kind: DeadlineKind::ScheduleToClose, id });
        }
        Some(activity)
    }

    fn limit(&mut self, deadline: Timestamp, grace_until: Option<Timestamp>) {
        self.limits = Some(Box::new(RunLimits { deadline, grace_until, cancelled: false }));
        let (kind, id) = (DeadlineKind::Run, CommandId::START_DELAY);
        self.deadlines.insert(Deadline { at: deadline, kind, id });
    }

    fn deadline_passed(&mut self) {
        let Some(limits) = &mut self.limits else { return };
        let id = CommandId::START_DELAY;
        self.deadlines.remove(&Deadline { at: limits.deadline, kind: DeadlineKind::Run, id });
        if let Some(until) = limits.grace_until {
            let at = self.now.saturating_add(until.saturating_since(limits.deadline));
            self.deadlines.insert(Deadline { at, kind: DeadlineKind::Grace, id });
        }
        if self.cancel.is_none() {
            self.cancel = Some(Box::new(CancelRequest { reason: None }));
            limits.cancelled = true;
        }
    }

    fn start_timer(&mut self, id: CommandId, at: Timestamp) {
        self.timers.insert(id, at);
        self.deadlines.insert(Deadline { at, kind: DeadlineKind::Timer, id });
    }

    fn remove_timer(&mut self, id: CommandId) {
        if let Some(at) = self.timers.remove(id) {
            self.deadlines.remove(&Deadline { at, kind: DeadlineKind::Timer, id });
        }
    }

    /// The workflow has returned, so that only its compensations are left to execute: those of rounds that go on, and unless
    /// it returned a value, those that are registered.
    fn end(&mut self, outcome: &Outcome) {
        self.ending = Some(Box::new(outcome.clone()));
        let dropped = std::mem::take(&mut self.waiting);
        self.payload_bytes -= dropped.iter().map(|past| payload_bytes(&past.event)).sum::<usize>();
        if let Outcome::Completed(_) = outcome {
            let unused = std::mem::take(&mut self.compensations);
            self.payload_bytes -= unused.values().map(|unused| unused.input.bytes().len()).sum::<usize>();
        }
        let given_up = self.activities.iter().filter(|(_, activity)| !activity.compensation);
        let given_up: Vec<CommandId> = given_up.map(|(id, _)| id).collect();
        given_up.into_iter().for_each(|id| _ = self.remove_activity(id));
        self.deadlines.retain(|deadline| !matches!(deadline.kind, DeadlineKind::Timer | DeadlineKind::Run));
        self.timers.clear();
        self.children.end();
    }

    fn register(&mut self, id: CommandId, compensation: PendingCompensation) {
        self.payload_bytes += compensation.input.bytes().len();
        self.compensations.insert(id, compensation);
    }

    fn discard(&mut self, id: CommandId) {
        if let Some(discarded) = self.compensations.remove(id) {
            self.payload_bytes -= discarded.input.bytes().len();
        }
    }

    fn begin_round(&mut self, id: CommandId) {
        let left = std::mem::take(&mut self.compensations);
        self.rounds.push_back(Round { id, left, failed: FailedCompensations::default() });
    }

    fn compensate(&mut self, id: CommandId) {
        let left = self.rounds.front_mut().map_or(&mut self.compensations, |round| &mut round.left);
        let Some(compensation) = left.remove(id) else { return };
        self.payload_bytes -= compensation.input.bytes().len();
        self.compensating = Some(id);
        self.schedule(id, &compensation.activity, &compensation.input, &compensation.options, true);
    }

    fn compensation_failed(&mut self, id: CommandId, failure: &Failure) {
        if let Some(activity) = self.remove_activity(id) {
            if let Some(round) = self.rounds.front_mut() {
                round.failed.push(&activity.name, failure);
            }
            self.uncompensated.get_or_insert_default().push(&activity.name, failure);
        }
    }

    fn close(&mut self, status: ClosedStatus) {
        self.closed = Some(status);
        self.paused = None;
        self.activities.clear();
        self.tasks = 0;
        self.retried = 0;
        self.deadlines.clear();
        self.retries.clear();
        self.timers.clear();
        self.compensations.clear();
        self.rounds.clear();
        self.compensating = None;
        self.children.clear();
        self.waiting.clear();
        self.payload_bytes = 0;
    }
}

/// How many bytes of payloads a resolution has that may wait. The requests of updates are counted with those without a reply.
fn payload_bytes(resolution: &Event) -> usize {
    if let Event::SignalReceived { payload, .. }
    | Event::ActivityCompleted { result: payload, .. }
    | Event::StepCompleted { result: payload, .. }
    | Event::ChildCompleted { result: payload, .. } = resolution
    {
        return payload.bytes().len();
    }
    0
}
