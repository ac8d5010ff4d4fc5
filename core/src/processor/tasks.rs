//! Tasks: attempts that are handed out to other processes, and the messages that tell how they ended. It must not know who
//! executes a task.

use crate::data::failure::Failure;
use crate::data::id::{CommandId, EventSeq, ExecutorId, RunId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::outcome::Outcome;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::log::attempt::Attempt;
use crate::log::event::Event;
use crate::log::message::{Flag, Message};
use crate::log::wire::encode_message;
use crate::log::wire::task::encode_task;
use crate::processor::Processor;
use crate::processor::dispatch::limit_payload;
use crate::processor::effect::Effect;
use crate::processor::group::Group;
use crate::processor::record::Recorder;
use crate::run::state::Deadline;
use crate::store::inbox::MessageRef;
use crate::store::tasks::{NewTask, TaskClaim, TaskId, Withdrawal};

/// How a task ended.
pub(super) enum TaskEnd {
    /// The attempt ended.
    Ended(Result<Payload, Failure>),
    /// The attempt completed, and its outcome was committed together with its effects.
    Committed(Payload),
    /// So many executors were lost with it, and it is not executed again.
    Lost(u32),
}

impl TaskEnd {
    /// What a message says of the end of a task.
    pub(super) fn of(outcome: Outcome, committed: bool) -> Self {
        match outcome {
            Outcome::Completed(result) if committed => Self::Committed(result),
            Outcome::Completed(result) => Self::Ended(Ok(result)),
            Outcome::Failed(failure) => Self::Ended(Err(failure)),
            // No executor says so.
            Outcome::Cancelled => Self::Ended(Err(Failure::new("cancelled", "the attempt was cancelled"))),
        }
    }
}

/// The row of the task that an event enqueues.
pub(super) fn new_task(
    attempt: &Attempt,
    seq: EventSeq,
    queue: &Name,
    executor: Option<ExecutorId>,
    losses_max: u32,
) -> NewTask {
    let id = TaskId { run: attempt.run, seq };
    let once = attempt.options.get().at_most_once;
    let losses_max = if once { 0 } else { losses_max };
    let lost = Message::TaskLost { id: attempt.id, task: seq, losses: losses_max + 1 };
    NewTask {
        id,
        queue: queue.clone(),
        activity: attempt.activity.clone(),
        losses_max,
        message: id.message(),
        body: encode_task(attempt),
        lost: encode_message(&lost),
        executor,
    }
}

impl Recorder<'_> {
    /// Makes the next attempts of these activities tasks. Their rows are inserted with the events that say so. If they are
    /// being executed, `executor` is that of this process.
    pub(super) fn enqueue(
        &mut self,
        id: RunId,
        tasks: Vec<(CommandId, Name)>,
        executor: Option<ExecutorId>,
        now: Timestamp,
    ) {
        if tasks.is_empty() {
            return;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (call, queue) in tasks {
            let Some(live) = self.runs.get(id) else { return };
            let input = live.state().activities.get(call).map_or(0, |activity| activity.input.bytes().len());
            let is_full = batch.len() >= limits::TASKS_BATCH_MAX || bytes + input > limits::TASKS_BYTES_MAX;
            if is_full && !batch.is_empty() {
                self.enqueue_batch(id, std::mem::take(&mut batch), executor, now);
                bytes = 0;
            }
            bytes += input;
            batch.push((call, queue));
        }
        self.enqueue_batch(id, batch, executor, now);
    }

    fn enqueue_batch(
        &mut self,
        id: RunId,
        tasks: Vec<(CommandId, Name)>,
        executor: Option<ExecutorId>,
        now: Timestamp,
    ) {
        let Some(live) = self.runs.get_mut(id).filter(|_| !tasks.is_empty()) else { return };
        let progress = live.run().attempts_enqueued(now, tasks, executor);
        self.record(id, progress, &[], now);
    }

    /// A message tells how a task of a run in memory ended.
    pub(super) fn take_in_task(
        &mut self,
        id: RunId,
        reference: MessageRef,
        (call, task): (CommandId, EventSeq),
        end: TaskEnd,
        now: Timestamp,
    ) {
        let Some(live) = self.runs.get_mut(id) else { return };
        if live.is_over() || !live.executing().end_task(call, task) {
            return self.take_in_late(id, reference, call, end, now);
        }
        let activity = live.state().activities.get(call);
        let (attempt, name) =
            activity.map(|activity| (activity.attempt, activity.name.clone())).unwrap_or_default();
        let now = live.outcome_at(now);
        let progress = match end {
            TaskEnd::Lost(losses) => live.run().task_lost(now, call, losses),
            // Whatever the limits of this process: what was committed did not fail.
            TaskEnd::Committed(result) => live.run().attempt_ended(now, call, attempt, Ok(result)),
            TaskEnd::Ended(result) => {
                let limit = self.setup.registry.payload_bytes_max();
                let result = limit_payload(result, limit, || format!("the result of activity `{name}`"));
                live.run().attempt_ended(now, call, attempt, result)
            }
        };
        self.record(id, progress, &[reference], now);
    }

    /// A message tells how a task ended that the run does not wait for any more. What was committed is logged, although the
    /// run has given the activity up: that means that nobody waits, and not that nothing happened.
    fn take_in_late(
        &mut self,
        id: RunId,
        reference: MessageRef,
        call: CommandId,
        end: TaskEnd,
        now: Timestamp,
    ) {
        let TaskEnd::Committed(result) = end else { return self.drop_late(id, reference) };
        let Some(live) = self.runs.get_mut(id) else { return };
        if self.outbox.allows_line("activity.committed-late") {
            tracing::info!(run = %id, %call, "an activity that the run gave up was committed, and is logged");
        }
        let progress = live.run().resolve(now, Event::ActivityCompleted { id: call, result });
        self.record(id, progress, &[reference], now);
    }

    /// The schedule of an activity is over, whose task may still be committed. Only a statement that ends the task can tell:
    /// if it finds the task, it sends the message that the activity failed; otherwise there is another message, or will be.
    pub(super) fn expire_task(&mut self, id: RunId, deadline: Deadline) {
        let call = deadline.id;
        let Some(live) = self.runs.get_mut(id) else { return };
        let Some(failure) = live.run().out_of_time(call) else { return };
        let Some(task) = live.expire_task(deadline) else { return };
        // It is over, whatever the clock of the owner says that reads this.
        let outcome = Outcome::Failed(failure.non_retryable());
        let ended = Message::TaskEnded { id: call, task, outcome, committed: Flag(false) };
        let withdrawal =
            Withdrawal { task: TaskId { run: id, seq: task }, tells: Some(encode_message(&ended)) };
        live.cause(Effect::Withdraw(withdrawal), self.outbox);
    }

    /// A message is of no use any more: the run gave the activity of a task up, or is over.
    pub(super) fn drop_late(&mut self, run: RunId, reference: MessageRef) {
        if self.outbox.allows_line("message.late") {
            tracing::info!(%run, number = %reference.number, "a message came too late, and is dropped");
        }
        let mut group = Group::new(run);
        group.consumed.push(reference);
        match self.runs.get_mut(run) {
            Some(live) => live.queue(group, self.outbox),
            None => self.outbox.push(group),
        }
    }
}

impl Processor {
    /// Whether an attempt that is handed to the executor may become a task instead.
    pub(crate) fn may_overflow(&self, attempt: &Attempt) -> bool {
        let live = self.runs.get(attempt.run);
        let activity = live.and_then(|live| live.state().activities.get(attempt.id));
        // An attempt whose start is logged must not be executed by anybody else.
        activity.is_some_and(|activity| {
            activity.attempt == attempt.attempt
                && activity.task.is_none()
                && !activity.attempt_logged
                && !activity.options.get().at_most_once
        })
    }

    /// The executor has no room for these attempts: they become tasks, so that other processes can execute them.
    pub(crate) fn overflow(&mut self, attempts: &[Box<Attempt>], now: Timestamp) {
        let mut recorder = self.recorder();
        let queue = recorder.setup.config.activity_queue.clone();
        for of_run in attempts.chunk_by(|one, next| one.run == next.run) {
            let run = of_run[0].run;
            let Some(live) = recorder.runs.get_mut(run) else { continue };
            let executed = of_run.iter().filter(|one| live.executing().end_attempt(one.id, one.attempt));
            let tasks = executed.map(|attempt| (attempt.id, queue.clone())).collect();
            recorder.enqueue(run, tasks, None, now);
        }
    }

    /// Attempts that this process executes become tasks, which its executor has already: whoever owns their runs from now on
    /// leaves them to it. Returns those that do, each with its claim; the append that says so is still to be made.
    pub(crate) fn hand_out(
        &mut self,
        attempts: &[(RunId, CommandId)],
        executor: ExecutorId,
        now: Timestamp,
    ) -> Vec<(CommandId, TaskClaim)> {
        let mut recorder = self.recorder();
        let queue = recorder.setup.config.activity_queue.clone();
        let mut handed_out = Vec::new();
        for of_run in attempts.chunk_by(|one, next| one.0 == next.0) {
            let run = of_run[0].0;
            let Some(live) = recorder.runs.get_mut(run).filter(|live| !live.is_over()) else { continue };
            let calls =
                of_run.iter().map(|(_, call)| *call).filter(|call| live.executing().has_attempt(*call));
            let calls: Vec<CommandId> = calls.collect();
            let tasks = calls.iter().map(|call| (*call, queue.clone())).collect();
            recorder.enqueue(run, tasks, Some(executor), now);
            let Some(live) = recorder.runs.get(run) else { continue };
            for call in calls {
                let activity = live.state().activities.get(call);
                if let Some(task) = activity.and_then(|activity| activity.task.as_ref()) {
                    let task = TaskId { run, seq: task.seq };
                    handed_out.push((call, TaskClaim { task, number: 1 }));
                }
            }
        }
        handed_out
    }
}
