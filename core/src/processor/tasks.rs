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
use crate::log::message::Message;
use crate::log::wire::encode_message;
use crate::log::wire::task::encode_task;
use crate::processor::Processor;
use crate::processor::dispatch::limit_payload;
use crate::processor::group::Group;
use crate::processor::record::Recorder;
use crate::store::inbox::MessageRef;
use crate::store::tasks::{NewTask, TaskClaim, TaskId};

/// How a task ended.
pub(super) enum TaskEnd {
    /// The attempt ended.
    Ended(Result<Payload, Failure>),
    /// So many executors were lost with it, and it is not executed again.
    Lost(u32),
}

impl TaskEnd {
    /// What a message says of the end of a task.
    pub(super) fn of(outcome: Outcome) -> Self {
        Self::Ended(match outcome {
            Outcome::Completed(result) => Ok(result),
            Outcome::Failed(failure) => Err(failure),
            // No executor says so.
            Outcome::Cancelled => Err(Failure::new("cancelled", "the attempt was cancelled")),
        })
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
            return self.drop_late(id, reference);
        }
        let activity = live.state().activities.get(call);
        let (attempt, name) =
            activity.map(|activity| (activity.attempt, activity.name.clone())).unwrap_or_default();
        let now = live.outcome_at(now);
        let progress = match end {
            TaskEnd::Lost(losses) => live.run().task_lost(now, call, losses),
            TaskEnd::Ended(result) => {
                let limit = self.setup.registry.payload_bytes_max();
                let result = limit_payload(result, limit, || format!("the result of activity `{name}`"));
                live.run().attempt_ended(now, call, attempt, result)
            }
        };
        self.record(id, progress, &[reference], now);
    }

    /// The outcome of a task is not wanted any more: the run gave the activity up, or is over.
    pub(super) fn drop_late(&mut self, run: RunId, reference: MessageRef) {
        tracing::info!(%run, message = %reference.number, "the outcome of a task came too late, and is dropped");
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
