//! The reducer: the state of a run is a fold over its events. It is synchronous and total, and must not know a
//! program, a store or a clock.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tracing::Level;
use tracing::level_filters::LevelFilter;

use crate::data::call_map::CallMap;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, EventSeq, LeaseId, MessageId, RunId};
use crate::data::id_map::IdMap;
use crate::data::limits;
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::log::event::{Event, Role};
use crate::run::pending::{LastFailure, PendingActivity, PendingCompensation, PendingTask};
use crate::run::unanswered::Unanswered;
use crate::store::append::ClosedStatus;

/// The state of one run according to its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunState {
    pub(crate) id: RunId,
    pub(crate) workflow: Name,
    pub(crate) key: Option<String>,
    /// The workflow's input.
    pub(crate) input: Option<Payload>,
    /// The number of the last event.
    pub(crate) seq: Option<EventSeq>,
    /// The time of the last event.
    pub(crate) now: Timestamp,
    /// The lease under which the run was started or last adopted.
    pub(crate) lease: Option<LeaseId>,
    pub(crate) activities: CallMap<PendingActivity>,
    /// How many bytes their inputs have, and those of the compensations.
    pub(crate) input_bytes: usize,
    /// How many of them are tasks.
    tasks: usize,
    /// How many of them have failed before.
    retried: usize,
    /// The deadlines of timers and of whole activities.
    pub(crate) deadlines: BTreeSet<Deadline>,
    /// The start times of next attempts: one for every activity that has a `retry_at`.
    pub(crate) retries: BTreeSet<Deadline>,
    /// The timers that have not fired, with their deadlines.
    pub(crate) timers: CallMap<Timestamp>,
    /// The logged signals and requests, since a message is logged once however often it is delivered.
    pub(crate) messages: IdMap<MessageId, ()>,
    /// The updates without a reply.
    pub(crate) updates: Unanswered,
    pub(crate) compensations: Vec<PendingCompensation>,
    pub(crate) uncompensated: Vec<Uncompensated>,
    pub(crate) cancel: Option<CancelRequest>,
    /// Boxed, because few runs have one.
    pub(crate) ending: Option<Box<Outcome>>,
    pub(crate) stalled: Option<String>,
    /// Resolutions, with their times, that arrived while the run was stalled or after those, and that its program has
    /// not taken yet.
    pub(crate) waiting: VecDeque<(Timestamp, Event)>,
    pub(crate) closed: Option<ClosedStatus>,
}

/// A logged request to cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CancelRequest {
    pub(crate) reason: Option<String>,
}

/// A deadline. Deadlines are ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline {
    pub(crate) at: Timestamp,
    pub(crate) kind: DeadlineKind,
    pub(crate) id: CommandId,
}

/// What happens at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeadlineKind {
    /// A timer fires.
    Timer,
    /// An activity fails.
    ScheduleToClose,
    /// An activity's next attempt starts.
    Retry,
}

impl RunState {
    /// The state before the first event.
    pub(crate) fn new(id: RunId) -> Self {
        Self {
            id,
            workflow: Name::from_static(""),
            key: None,
            input: None,
            seq: None,
            now: Timestamp::MIN,
            lease: None,
            activities: CallMap::new(),
            input_bytes: 0,
            tasks: 0,
            retried: 0,
            deadlines: BTreeSet::new(),
            retries: BTreeSet::new(),
            timers: CallMap::new(),
            messages: IdMap::default(),
            updates: Unanswered::default(),
            compensations: Vec::new(),
            uncompensated: Vec::new(),
            cancel: None,
            ending: None,
            stalled: None,
            waiting: VecDeque::new(),
            closed: None,
        }
    }

    /// The number of the next event.
    pub(crate) fn next_seq(&self) -> EventSeq {
        self.seq.map_or(EventSeq::FIRST, EventSeq::next)
    }

    /// The number of events of the run.
    pub(crate) fn event_count(&self) -> u32 {
        self.seq.map_or(0, EventSeq::get)
    }

    /// Whether a new owner must load the run at once: an activity is in flight here, the run is ending, or its code is taking
    /// waiting resolutions. A task is in flight elsewhere: its outcome is a message.
    pub(crate) fn is_busy(&self) -> bool {
        let releasing = self.stalled.is_none() && !self.waiting.is_empty();
        let in_flight = self.activities.len() > self.retries.len() + self.tasks;
        let ending = self.ending.is_some() && self.tasks == 0;
        self.closed.is_none() && (ending || releasing || in_flight)
    }

    /// Whether any of its activities is a task.
    pub(crate) fn has_tasks(&self) -> bool {
        self.tasks > 0
    }

    /// Its tasks, each with the number of the event that enqueued it.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (CommandId, EventSeq)> {
        self.activities.iter().filter_map(|(id, activity)| Some((id, activity.task.as_ref()?.seq)))
    }

    /// Whether a new resolution has to wait, because the program cannot take it or others wait already.
    pub(crate) fn queues(&self) -> bool {
        self.stalled.is_some() || !self.waiting.is_empty()
    }

    /// The activities whose attempt is, or should be, running in this process.
    pub(crate) fn activities_in_flight(&self) -> impl Iterator<Item = CommandId> {
        let here = |activity: &PendingActivity| activity.retry_at.is_none() && activity.task.is_none();
        self.activities.iter().filter(move |(_, activity)| here(activity)).map(|(id, _)| id)
    }

    /// Runs the user's code, which takes a resolution, in a tracing span. Nothing is done for a span that no subscriber
    /// records, because a replay polls for every other event.
    pub(crate) fn in_span<T>(&self, resolution: &Event, replay: bool, poll: impl FnOnce() -> T) -> T {
        if LevelFilter::current() < Level::INFO {
            return poll();
        }
        let (workflow, key) = if let Event::RunStarted { workflow, key, .. } = resolution {
            // The state does not contain them yet.
            (workflow, key.as_deref())
        } else {
            (&self.workflow, self.key.as_deref())
        };
        tracing::info_span!("run", run = %self.id, %workflow, key, replay).in_scope(poll)
    }

    /// Whether an activity has failed before and is retried.
    pub(crate) fn has_retries(&self) -> bool {
        self.retried > 0
    }

    /// The earliest deadline.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        let deadlines = self.deadlines.first().into_iter().chain(self.retries.first());
        deadlines.min().map(|deadline| deadline.at)
    }

    /// Applies the next event.
    pub(crate) fn apply(&mut self, at: Timestamp, event: &Event) {
        assert!(self.closed.is_none(), "run {}: {} after its terminal event", self.id, event.name());
        self.seq = Some(self.next_seq());
        self.now = self.now.max(at);
        if self.queues() && event.role() == Role::Resolution {
            self.waiting.push_back((at, event.clone()));
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
                self.messages.insert(*message, ());
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
            | Event::SignalSent { .. }
            // The store finds the last value of a view in the log.
            | Event::ViewPublished { .. } => {}
            Event::TimerStarted { id, fire_at } => {
                self.start_timer(*id, *fire_at);
            }
            Event::TimerFired { id } | Event::TimerCancelled { id } => self.remove_timer(*id),
            Event::SignalReceived { message, .. } => {
                self.messages.insert(*message, ());
            }
            Event::UpdateReceived { message, request, .. } => {
                self.messages.insert(*message, ());
                self.updates.insert(*message, request);
            }
            Event::UpdateReplied { message, .. } | Event::UpdateDropped { message, .. } => {
                self.updates.remove(*message);
            }
            Event::CancelRequested { message, reason } => {
                self.messages.insert(*message, ());
                self.cancel.get_or_insert(CancelRequest { reason: reason.clone() });
            }
            Event::RunStalled { reason } => self.stalled = Some(reason.clone()),
            Event::RunResumed { released } => {
                self.stalled = None;
                self.waiting.drain(..self.waiting.len().min(*released as usize));
            }
            Event::CompensationRegistered { id, activity, input, options } => {
                let (id, activity, input) = (*id, activity.clone(), input.clone());
                self.register(PendingCompensation { id, activity, input, options: options.clone() });
            }
            Event::RunEnding { outcome } => self.end(outcome),
            Event::CompensationScheduled { id } => self.compensate(*id),
            Event::RunCompleted { .. } => self.close(ClosedStatus::Completed),
            Event::RunFailed { .. } => self.close(ClosedStatus::Failed),
            Event::RunCancelled { .. } => self.close(ClosedStatus::Cancelled),
            Event::RunTerminated { .. } => self.close(ClosedStatus::Terminated),
        }
    }

    fn started(&mut self, event: &Event) {
        let Event::RunStarted { workflow, input, key, start_at, lease } = event else { return };
        self.workflow = workflow.clone();
        self.input = Some(input.clone());
        self.key.clone_from(key);
        self.lease = Some(*lease);
        if let Some(at) = *start_at {
            self.start_timer(CommandId::START_DELAY, at);
        }
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
        self.input_bytes += activity.input.bytes().len();
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
            self.tasks += usize::from(activity.task.is_none());
            activity.task = self.seq.map(|seq| Box::new(PendingTask { seq, queue: queue.clone() }));
        }
    }

    fn attempt_failed(&mut self, id: CommandId, attempt: u32, failure: &Failure, retry_at: Timestamp) {
        if let Some(activity) = self.activities.get_mut(id) {
            let words: String = failure.to_string().chars().take(limits::LAST_FAILURE_CHARS_MAX).collect();
            self.retried += usize::from(activity.last_failure.is_none());
            activity.last_failure = Some(Arc::new(LastFailure(words)));
            if let Some(at) = activity.retry_at.replace(retry_at) {
                self.retries.remove(&Deadline { at, kind: DeadlineKind::Retry, id });
            }
            self.tasks -= usize::from(activity.task.take().is_some());
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
        self.input_bytes -= activity.input.bytes().len();
        self.tasks -= usize::from(activity.task.is_some());
        self.retried -= usize::from(activity.last_failure.is_some());
        if let Some(at) = activity.retry_at {
            self.retries.remove(&Deadline { at, kind: DeadlineKind::Retry, id });
        }
        if let Some(limit) = activity.options.get().schedule_to_close {
            let at = activity.scheduled_at.saturating_add(limit);
            self.deadlines.remove(&Deadline { at, kind: DeadlineKind::ScheduleToClose, id });
        }
        Some(activity)
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

    /// Removes all activities, timers and deadlines.
    fn clear(&mut self) {
        self.activities.clear();
        self.input_bytes = self.compensations.iter().map(|left| left.input.bytes().len()).sum();
        self.tasks = 0;
        self.retried = 0;
        self.deadlines.clear();
        self.retries.clear();
        self.timers.clear();
    }

    /// The workflow has returned, so that only its compensations are left to execute.
    fn end(&mut self, outcome: &Outcome) {
        self.ending = Some(Box::new(outcome.clone()));
        self.waiting.clear();
        self.clear();
    }

    fn register(&mut self, compensation: PendingCompensation) {
        self.input_bytes += compensation.input.bytes().len();
        self.compensations.push(compensation);
    }

    fn compensate(&mut self, id: CommandId) {
        let Some(index) = self.compensations.iter().rposition(|compensation| compensation.id == id) else {
            return;
        };
        let compensation = self.compensations.remove(index);
        self.input_bytes -= compensation.input.bytes().len();
        self.schedule(id, &compensation.activity, &compensation.input, &compensation.options, true);
    }

    fn compensation_failed(&mut self, id: CommandId, failure: &Failure) {
        if let Some(activity) = self.remove_activity(id) {
            let uncompensated = Uncompensated { activity: activity.name.into(), failure: failure.clone() };
            self.uncompensated.push(uncompensated);
        }
    }

    fn close(&mut self, status: ClosedStatus) {
        self.closed = Some(status);
        self.clear();
        self.waiting.clear();
    }
}
