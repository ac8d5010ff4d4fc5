//! Tasks, as the store's facts show them: each is inserted with the event that enqueues it, has one executor at most, is lost
//! no more often than it may be, and tells its run once how it ended.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows_core::Timestamp;
use pgworkflows_core::history::{Event, HistoryEvent};
use pgworkflows_core::id::{CommandId, EventSeq, ExecutorId, MessageId, RunId};
use pgworkflows_core::store::{Append, NewTask, TaskClaim, TaskId};
use pgworkflows_memory::Fact;

/// What is known of tasks and executors.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskAccounts {
    tasks: BTreeMap<TaskId, TaskAccount>,
    /// The executors with a lease, with the time of the last renewal and the time until which it lasts.
    executors: BTreeMap<ExecutorId, (Timestamp, Timestamp)>,
    over: BTreeSet<ExecutorId>,
    /// The messages that told runs how tasks ended.
    told: BTreeSet<MessageId>,
    /// The messages of all tasks ever inserted.
    messages: BTreeSet<MessageId>,
    /// The tasks that activities of each run wait for, by their logs.
    waiting: BTreeMap<(RunId, CommandId), MessageId>,
    /// The activities that only such a message may end, even if a deadline is over.
    transactional: BTreeSet<(RunId, CommandId)>,
}

#[derive(Clone, Debug)]
struct TaskAccount {
    losses: u32,
    losses_max: u32,
    claims: u32,
    executor: Option<ExecutorId>,
}

impl TaskAccounts {
    /// Whether no task is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Something happened to an executor or a task. No executor that is renewed after `settled_at` may be fenced.
    pub(super) fn happened(
        &mut self,
        fact: &Fact,
        now: Timestamp,
        settled_at: Option<Timestamp>,
        violations: &mut Vec<String>,
    ) {
        match fact {
            Fact::ExecutorRenewed { executor, until } => self.renewed(*executor, now, *until, violations),
            Fact::ExecutorEnded { executor, by_itself } => {
                let renewed = self.ended(*executor, *by_itself, now, violations);
                if !by_itself && settled_at.is_some_and(|settled| renewed >= Some(settled)) {
                    violations.push(format!("executor {executor} lost its lease because of work alone"));
                }
            }
            Fact::TaskClaimed { claim, executor } => self.claimed(*claim, *executor, violations),
            Fact::TaskFreed { task, lost } => self.freed(*task, *lost, violations),
            Fact::TaskDeleted { task, settled_by } => self.deleted(*task, *settled_by, violations),
            Fact::Submitted { .. }
            | Fact::Appended(_)
            | Fact::Leased { .. }
            | Fact::Claimed { .. }
            | Fact::Renewed { .. }
            | Fact::Ended { .. }
            | Fact::Restored => {}
        }
    }

    /// An append inserts tasks and logs events.
    pub(super) fn appended(
        &mut self,
        append: &Append,
        events: &[Vec<HistoryEvent>],
        violations: &mut Vec<String>,
    ) {
        let mut inserted: BTreeMap<TaskId, &NewTask> = BTreeMap::new();
        for task in &append.tasks {
            let NewTask { id, losses_max, message, executor, .. } = task;
            inserted.insert(*id, task);
            let account = TaskAccount {
                losses: 0,
                losses_max: *losses_max,
                claims: u32::from(executor.is_some()),
                executor: *executor,
            };
            if self.tasks.insert(*id, account).is_some() || !self.messages.insert(*message) {
                violations.push(format!("task {} of run {} was inserted twice", id.seq, id.run));
            }
        }
        for (frame, events) in append.frames.iter().zip(events) {
            for HistoryEvent { seq, event, .. } in events {
                let run = frame.run;
                let Event::ActivityEnqueued { id, queue, .. } = event else {
                    self.logs(run, event, append, violations);
                    continue;
                };
                match inserted.remove(&TaskId { run, seq: EventSeq::new(seq.get()) }) {
                    Some(task) if task.queue == *queue => _ = self.waiting.insert((run, *id), task.message),
                    _ => violations.push(format!("run {run}: an activity was enqueued without its task")),
                }
            }
        }
        for task in inserted.keys() {
            violations.push(format!("a task of run {} was inserted without its event", task.run));
        }
    }

    /// An outcome of an activity that is a task comes from the message of that very task.
    fn logs(&mut self, run: RunId, event: &Event, append: &Append, violations: &mut Vec<String>) {
        let needs_message = match event {
            Event::ActivityCompleted { .. }
            | Event::CompensationCompleted { .. }
            | Event::ActivityAttemptFailed { .. } => true,
            // A deadline of the run may be the cause, except for one that may succeed at the same moment.
            Event::ActivityFailed { id, .. } | Event::CompensationFailed { id, .. } => {
                self.transactional.contains(&(run, *id))
            }
            Event::ActivityCancelled { .. } => false,
            Event::ActivityScheduled { id, options, .. }
            | Event::CompensationRegistered { id, options, .. } => {
                if *options == options.clone().transactional() {
                    self.transactional.insert((run, *id));
                }
                return;
            }
            _ => return,
        };
        let Some(message) = event.call().and_then(|call| self.waiting.remove(&(run, call))) else { return };
        if needs_message && !append.consumed.iter().any(|consumed| consumed.message == message) {
            violations.push(format!(
                "run {run}: {} is the outcome of a task, and its message is another",
                event.name()
            ));
        }
    }

    /// A message became visible that may tell how a task ended.
    pub(super) fn told(&mut self, run: RunId, message: MessageId, violations: &mut Vec<String>) {
        if !self.messages.contains(&message) {
            violations.push(format!("run {run} was told of a task that does not exist"));
        }
        if !self.told.insert(message) {
            violations.push(format!("run {run} was told twice how a task ended"));
        }
    }

    fn renewed(
        &mut self,
        executor: ExecutorId,
        now: Timestamp,
        until: Timestamp,
        violations: &mut Vec<String>,
    ) {
        if self.over.contains(&executor) {
            violations.push(format!("executor {executor} was over, and was renewed"));
        }
        self.executors.insert(executor, (now, until));
    }

    /// An executor is over. Returns when it was renewed last.
    fn ended(
        &mut self,
        executor: ExecutorId,
        by_itself: bool,
        now: Timestamp,
        violations: &mut Vec<String>,
    ) -> Option<Timestamp> {
        self.over.insert(executor);
        if self.tasks.values().any(|task| task.executor == Some(executor)) {
            violations.push(format!("executor {executor} is over, and has tasks"));
        }
        let (renewed, until) = self.executors.remove(&executor)?;
        if !by_itself && now < until {
            violations.push(format!("executor {executor} was fenced before its time"));
        }
        Some(renewed)
    }

    fn claimed(&mut self, claim: TaskClaim, executor: ExecutorId, violations: &mut Vec<String>) {
        let TaskId { run, seq } = claim.task;
        if !self.executors.contains_key(&executor) {
            violations.push(format!("executor {executor}, which is over, claimed task {seq} of run {run}"));
        }
        let Some(task) = self.tasks.get_mut(&claim.task) else {
            return violations.push(format!("task {seq} of run {run} was claimed, and does not exist"));
        };
        task.claims += 1;
        if task.claims != claim.number {
            violations.push(format!("claim {} of task {seq} of run {run} has another number", task.claims));
        }
        if let Some(other) = task.executor.replace(executor) {
            violations
                .push(format!("executor {executor} claimed task {seq} of run {run}, which {other} has"));
        }
    }

    fn freed(&mut self, task: TaskId, lost: bool, violations: &mut Vec<String>) {
        let TaskId { run, seq } = task;
        let Some(account) = self.tasks.get_mut(&task) else {
            return violations.push(format!("task {seq} of run {run} was freed, and does not exist"));
        };
        account.losses += u32::from(lost);
        if account.losses > account.losses_max {
            violations
                .push(format!("task {seq} of run {run} was lost {} times, and is free", account.losses));
        }
        if account.executor.take().is_none() {
            violations.push(format!("task {seq} of run {run} was freed, and was free"));
        }
    }

    fn deleted(&mut self, task: TaskId, settled_by: Option<ExecutorId>, violations: &mut Vec<String>) {
        let TaskId { run, seq } = task;
        match self.tasks.remove(&task) {
            None => violations.push(format!("task {seq} of run {run} was deleted twice")),
            Some(account) if settled_by.is_some() && account.executor != settled_by => {
                violations.push(format!(
                    "task {seq} of run {run} was settled by an executor that does not have it"
                ));
            }
            Some(_) => {}
        }
    }
}
