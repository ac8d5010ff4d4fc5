//! A run in memory: its state and code, its row in the store, and its attempts and steps in the executor. It must not know
//! the processor or other runs.

use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::data::id::{CommandId, EventSeq, MessageId, RunId};
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::data::wait::Wait;
use crate::log::attempt::Attempt;
use crate::log::event::{Consequence, Event};
use crate::log::past_event::PastEvent;
use crate::log::wire::frame::EncodedEvents;
use crate::observe::spans::StepTag;
use crate::processor::attributes::{changed_attribute, first_attributes};
use crate::processor::children::{Start, ended, request, start_of};
use crate::processor::effect::Effect;
use crate::processor::executing::Executing;
use crate::processor::group::{Group, QueuedGroup, RowChange};
use crate::processor::memory::RUN_BYTES;
use crate::processor::outbox::Outbox;
use crate::processor::received::Received;
use crate::processor::replies::replied_by;
use crate::processor::report::Line;
use crate::processor::row::{Row, printable};
use crate::processor::sent::sent_by;
use crate::processor::succession::BegunSuccessor;
use crate::processor::tasks::new_task;
use crate::run::state::{Deadline, DeadlineKind, RunState};
use crate::run::{Progress, Run, words};
use crate::store::append::{ClosedRun, ClosedStatus, OpenRow, OpenState, PublishedView};
use crate::store::tasks::{TaskId, Withdrawal};
use crate::store::watch::Notice;

/// A run in memory.
pub(super) struct Live {
    run: Run,
    row: Row,
    executing: Executing,
    /// How many of its groups are queued or in flight.
    uncommitted: usize,
    /// Tells a client of this process how the run ended.
    on_closed: Option<oneshot::Sender<Notice>>,
    /// The last retry that was handed to the executor: retries up to it are in progress, or wait for a worker that has their
    /// activity.
    retried: Option<Deadline>,
    /// All deadlines up to this one are schedules of tasks that are going to end because of them. There may be thousands.
    expired: Option<Deadline>,
    warned: bool,
    /// Whether it is to be loaded again, so that its code is tried again.
    resumed: bool,
    /// Terminations that wait until its children are bound.
    held: Vec<Received>,
}

impl Live {
    /// Boxed, because it is large and would be moved several times.
    pub(super) fn new(run: Run, row: Row) -> Box<Self> {
        let executing = Executing::of_tasks(run.state.tasks());
        Box::new(Self {
            run,
            row,
            executing,
            uncommitted: 0,
            on_closed: None,
            retried: None,
            expired: None,
            warned: false,
            resumed: false,
            held: Vec::new(),
        })
    }

    /// Makes a run for a client of this process, which is told how the run ended.
    pub(super) fn of_client(run: Run, on_closed: oneshot::Sender<Notice>) -> Box<Self> {
        let mut live = Self::new(run, Row::Absent);
        live.on_closed = Some(on_closed);
        live
    }

    /// Makes a run that continues another. A client of this process may be told how it ends.
    pub(super) fn continuing(run: Run, on_closed: Option<oneshot::Sender<Notice>>) -> Box<Self> {
        let mut live = Self::new(run, Row::submitted());
        live.on_closed = on_closed;
        live
    }

    pub(super) fn id(&self) -> RunId {
        self.run.state.id
    }

    /// About how many bytes it takes. What its code allocates is not known.
    pub(super) fn bytes(&self) -> usize {
        RUN_BYTES + self.run.bytes()
    }

    pub(super) fn state(&self) -> &RunState {
        &self.run.state
    }

    /// Whether a signal that arrives now would have to go along to the next attempt, and there is no room for it.
    pub(super) fn has_no_room_for(&self, payload: &Payload) -> bool {
        self.run.has_no_room_for(payload)
    }

    /// The run itself. All progress that it makes must be written.
    pub(super) fn run(&mut self) -> &mut Run {
        &mut self.run
    }

    pub(super) fn executing(&mut self) -> &mut Executing {
        &mut self.executing
    }

    /// A termination waits until its children are bound.
    pub(super) fn hold(&mut self, received: Received) {
        self.held.push(received);
    }

    /// Takes the terminations that waited.
    pub(super) fn take_held(&mut self) -> Vec<Received> {
        std::mem::take(&mut self.held)
    }

    /// How many attempts and steps of it are being executed.
    pub(super) fn executed(&self) -> usize {
        self.executing.len()
    }

    /// The attempts of which the log says that they began: if another owner repeats one, that counts.
    pub(super) fn logged_attempts(&self) -> impl Iterator<Item = CommandId> {
        self.run.state.activities.iter().filter(|(_, activity)| activity.attempt_logged).map(|(call, _)| call)
    }

    pub(super) fn is_over(&self) -> bool {
        self.run.state.closed.is_some()
    }

    /// Whether it has nothing left to do now: here, in the executor, or on the way to the log.
    pub(super) fn is_done(&self, now: Timestamp) -> bool {
        let due = self.next_deadline().is_some_and(|deadline| deadline.at <= now);
        self.executing.is_empty() && self.is_committed() && !self.run.can_release() && !due
    }

    /// Whether none of its groups is queued or in flight.
    pub(super) fn is_committed(&self) -> bool {
        self.uncommitted == 0
    }

    /// A counted group is in the log. Returns whether it was the last one.
    pub(super) fn committed(&mut self) -> bool {
        self.uncommitted -= 1;
        self.is_committed()
    }

    /// From now on it is to be loaded again, as soon as nothing of it is on its way.
    pub(super) fn resume(&mut self) {
        self.resumed = true;
    }

    /// Whether it is to be loaded again, and nothing of it is in the executor or on the way to the log.
    pub(super) fn can_load_again(&self) -> bool {
        self.resumed && self.is_committed() && self.executing.is_empty() && !self.is_over()
    }

    /// Whether nothing keeps it in memory: it is over, or waits for a message or for a deadline after `kept_until`.
    pub(super) fn is_idle(&self, kept_until: Option<Timestamp>) -> bool {
        let state = &self.run.state;
        if state.closed.is_some() {
            return true;
        }
        let near = state.wake_at().is_some_and(|wake_at| Some(wake_at) <= kept_until);
        self.executing.is_empty() && !state.is_busy() && !near
    }

    /// The first deadline. Of a paused run, no attempt begins. Retries that were handed to the executor do not count, nor do the
    /// schedules of tasks that are going to end because of them. The end of a grace waits until all children are bound, as a
    /// termination does: nothing would ask a child afterwards of which it is not known whether it exists.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let state = &self.run.state;
        let handed_out = self.retried.map_or(Bound::Unbounded, Bound::Excluded);
        let retry = state.retries.range((handed_out, Bound::Unbounded)).next();
        let retry = retry.filter(|_| state.paused.is_none());
        let is_new = |deadline: &&Deadline| match deadline.kind {
            DeadlineKind::ScheduleToClose => !self.executing.expires(deadline.id),
            DeadlineKind::Grace => !state.children.are_unbound(),
            DeadlineKind::Timer | DeadlineKind::Retry | DeadlineKind::Run => true,
        };
        let expired = self.expired.map_or(Bound::Unbounded, Bound::Excluded);
        let mut deadlines = state.deadlines.range((expired, Bound::Unbounded));
        deadlines.find(is_new).into_iter().chain(retry).min().copied()
    }

    /// The schedule of an activity is over: its first deadline, because deadlines fire in order. Returns its task, which is going
    /// to end because of that, the first time.
    pub(super) fn expire_task(&mut self, deadline: Deadline) -> Option<EventSeq> {
        let task = self.executing.expire_task(deadline.id)?;
        self.expired = self.expired.max(Some(deadline));
        Some(task)
    }

    /// An event begins nothing that is due before it. So if the clock went backwards, deadlines may come before those that have
    /// expired.
    fn note_time(&mut self, at: Timestamp) {
        self.expired.take_if(|expired| at <= expired.at);
    }

    /// A retry is handed to the executor.
    pub(super) fn retry(&mut self, deadline: Deadline) {
        self.retried = Some(deadline);
    }

    /// A client asks for the attempts that wait for their time to begin at once. Nothing is logged if none waits. Those that
    /// were handed to the executor do not wait any more, and the others must come after them.
    pub(super) fn retry_now(&mut self, now: Timestamp, message: MessageId) -> Progress {
        let earliest = self.retried.map(|retried| retried.at.saturating_add(Duration::from_micros(1)));
        self.run.retry_now(earliest.map_or(now, |earliest| now.max(earliest)), message)
    }

    /// The time of an outcome. If the clock went backwards, a new retry must still come after those handed to the executor.
    pub(super) fn outcome_at(&self, now: Timestamp) -> Timestamp {
        self.retried.map_or(now, |retried| now.max(retried.at))
    }

    /// Returns true at the first call only, so that a long history is warned of once.
    pub(super) fn is_first_warning(&mut self) -> bool {
        !std::mem::replace(&mut self.warned, true)
    }

    /// The next attempt of an activity, if it must be executed now.
    pub(super) fn next_attempt(&self, call: CommandId, now: Timestamp) -> Option<Attempt> {
        let state = &self.run.state;
        let activity = state.activities.get(call)?;
        // An activity whose time is over fails as soon as its deadline fires: an attempt would be wasted.
        let limit = activity.options.get().schedule_to_close;
        let late = limit.is_some_and(|limit| activity.scheduled_at.saturating_add(limit) <= now);
        let executed = self.executing.has_attempt(call) || activity.task.is_some();
        if late || executed { None } else { self.attempt(call) }
    }

    /// The current attempt of an activity.
    fn attempt(&self, call: CommandId) -> Option<Attempt> {
        let state = &self.run.state;
        let activity = state.activities.get(call)?;
        Some(Attempt {
            run: state.id,
            id: call,
            attempt: activity.attempt,
            activity: activity.name.clone(),
            input: activity.input.clone(),
            options: activity.options.clone(),
            workflow: state.workflow.clone(),
            key: state.key(),
            scheduled_at: activity.scheduled_at,
            trace: state.trace.clone(),
        })
    }

    /// Moves the run's progress to a group: encoded events, their effects, and tasks, which survive that many losses. Returns the
    /// activities to execute.
    pub(super) fn write(&mut self, group: &mut Group, progress: Progress, losses_max: u32) -> Vec<CommandId> {
        let run = self.run.state.id;
        let (mut dispatch, mut over) = (Vec::new(), false);
        let started = Line::of_successor(&progress);
        // A client that waits for the end is told that of the chain.
        group.successor = progress
            .successor
            .map(|successor| Box::new(BegunSuccessor::new(*successor, self.on_closed.take())));
        group.events = EncodedEvents::with_capacity(progress.events.len());
        for PastEvent { seq, at, event } in &progress.events {
            group.counts.note(event);
            group.lines.extend(Line::about(&self.run.state, &progress.failed, event));
            self.note_time(*at);
            let trace = self.run.state.trace.as_deref();
            match event.consequence() {
                Consequence::Nothing => {}
                Consequence::Dispatch => dispatch.extend(event.call()),
                Consequence::Enqueue => self.enqueue(group, *seq, event, losses_max),
                Consequence::Send => group.sent.extend(sent_by(run, trace, event)),
                Consequence::StartChild => match start_of(run, trace, event) {
                    Some(Start::Message(message)) => group.sent.push(message),
                    Some(Start::Effect(effect)) => group.effects.push(effect),
                    None => {}
                },
                Consequence::Reply => group.replies.extend(replied_by(run, event)),
                Consequence::Outcome | Consequence::GiveUp => {
                    let given_up = event.call().filter(|id| self.executing.drop_attempt(*id));
                    group.effects.extend(given_up.map(|id| Effect::Abort { run, id }));
                    let task = event.call().and_then(|id| self.executing.drop_task(id));
                    group.effects.extend(task.map(|seq| withdraw(TaskId { run, seq })));
                }
                Consequence::Begin => group.attributes.extend(first_attributes(run, event)),
                Consequence::Publish => {
                    group.views.extend(published_view(run, *seq, event));
                    group.attributes.extend(changed_attribute(run, event));
                }
                Consequence::Ending | Consequence::Terminal(_) => over = true,
            }
            let body = group.events.push(*seq, *at, event);
            if let Some(status) = event.closed_status() {
                let outcome = Bytes::copy_from_slice(body);
                self.close(group, status, *at, outcome);
                group.sent.extend(ended(&self.run.state, event));
            }
        }
        group.lines.extend(started);
        group.sent.extend(progress.requests.into_iter().map(|of_child| request(run, of_child)));
        group.effects.extend(progress.wanted_queue.map(|queue| Effect::FindQueue { queue, run }));
        let executing = &mut self.executing;
        let abort = |id| Effect::Abort { run, id };
        for id in progress.dropped_steps {
            executing.end_step(id);
            group.effects.push(abort(id));
        }
        for (id, step) in progress.steps {
            executing.begin_step(id);
            let state = &self.run.state;
            let tag = StepTag::of(state.key.as_deref(), state.trace.as_deref());
            let (workflow, step) = (state.workflow.clone(), Box::new(step));
            group.effects.push(Effect::ExecuteStep { run, workflow, tag, step });
        }
        if over {
            // The compensations of a round go on.
            let goes_on = |call| self.run.state.activities.contains(call);
            group.effects.extend(executing.drop_all_but(goes_on).into_iter().map(abort));
            let tasks = executing.drop_tasks(goes_on).into_iter();
            group.effects.extend(tasks.map(|seq| withdraw(TaskId { run, seq })));
        }
        dispatch
    }

    /// Inserts a task with the event that enqueues it.
    fn enqueue(&mut self, group: &mut Group, seq: EventSeq, event: &Event, losses_max: u32) {
        if let Event::ActivityEnqueued { id, queue, executor, .. } = event
            && let Some(attempt) = self.attempt(*id)
        {
            let task = new_task(&attempt, seq, queue, *executor, losses_max);
            self.executing.drop_attempt(*id);
            group.effects.extend(task.held().map(|task| Effect::HandOut { call: *id, task }));
            group.tasks.push(task);
            self.executing.begin_task(*id, seq);
        }
    }

    /// The run ends: writes its outcome, and has the client of this process told.
    fn close(&mut self, group: &mut Group, status: ClosedStatus, closed_at: Timestamp, outcome: Bytes) {
        let state = &self.run.state;
        let closed = ClosedRun {
            run: state.id,
            workflow: state.workflow.clone(),
            key: state.key(),
            parent: state.parent.as_deref().map(|parent| parent.run),
            status,
            closed_at,
            outcome,
        };
        if let Some(watcher) = self.on_closed.take() {
            let notice = Box::new(Notice::Closed(closed.clone()));
            group.effects.push(Effect::Tell { notice, watcher });
        }
        group.row = Some(RowChange::Closed(closed));
    }

    /// Queues a group after all other groups of its run.
    pub(super) fn queue(&mut self, mut group: QueuedGroup, outbox: &mut Outbox) {
        // Only events change a row.
        if !group.events.is_empty() {
            self.set_row(&mut group);
        }
        if group.writes_nothing() {
            group.effects.into_iter().for_each(|effect| self.cause(effect, outbox));
            return;
        }
        self.count_and_push(group, outbox);
    }

    /// Has an effect wait for all groups of its run that are queued or in flight.
    pub(super) fn cause(&mut self, effect: Effect, outbox: &mut Outbox) {
        if self.is_committed() {
            // Nothing of the run is queued or in flight: the effect may begin.
            return outbox.cause([effect]);
        }
        if let Some(last) = outbox.last_of(self.id()) {
            last.effects.push(effect);
            return;
        }
        let mut group = Group::new(self.id());
        group.effects.push(effect);
        self.count_and_push(group, outbox);
    }

    fn count_and_push(&mut self, mut group: QueuedGroup, outbox: &mut Outbox) {
        self.uncommitted += 1;
        group.counted = true;
        outbox.push(group);
    }

    /// Queues the run's row, if it changed.
    pub(super) fn write_row(&mut self, outbox: &mut Outbox) {
        let mut group = Group::new(self.id());
        self.set_row(&mut group);
        self.queue(group, outbox);
    }

    /// Adds the run's row to a group, if it changed.
    fn set_row(&mut self, group: &mut Group) {
        if !self.is_over()
            && let Some(change) = self.row.change(&self.run.state.workflow, self.open_row())
        {
            group.row = Some(change);
        }
    }

    /// The row that the run should have.
    pub(super) fn open_row(&self) -> OpenRow {
        let state = self.open_state();
        let wake_at = match state {
            // Its owner loads it at once.
            OpenState::Pending | OpenState::Busy => None,
            OpenState::Parked | OpenState::Stalled | OpenState::Paused => self.run.state.wake_at(),
        };
        if let Some(reason) =
            self.run.stall_in_words().filter(|_| state != OpenState::Busy || self.is_retrying())
        {
            return OpenRow { state, wake_at, waiting_on: Some(printable(reason)), waits: None };
        }
        let waits = match state {
            OpenState::Pending => Vec::new(),
            // Of a busy run, people are told no more than that, unless something of it has failed.
            OpenState::Busy if !self.is_retrying() => Vec::new(),
            OpenState::Busy | OpenState::Parked | OpenState::Stalled | OpenState::Paused => {
                self.run.shown_waits(&|call| self.executing.has_attempt(call))
            }
        };
        OpenRow { state, wake_at, waiting_on: words(&waits).map(printable), waits: Wait::to_json(&waits) }
    }

    fn is_retrying(&self) -> bool {
        self.run.state.has_retries()
    }

    fn open_state(&self) -> OpenState {
        if self.run.state.paused.is_some() {
            OpenState::Paused
        } else if self.run.state.stalled.is_some() {
            OpenState::Stalled
        } else if self.run.state.is_busy() || self.executing.has_steps() {
            OpenState::Busy
        } else {
            OpenState::Parked
        }
    }
}

/// The view of which an event publishes a value.
fn published_view(run: RunId, seq: EventSeq, event: &Event) -> Option<PublishedView> {
    let Event::ViewPublished { view, .. } = event else { return None };
    Some(PublishedView { run, view: view.clone(), seq })
}

fn withdraw(task: TaskId) -> Effect {
    Effect::Withdraw(Withdrawal { task, tells: None })
}
