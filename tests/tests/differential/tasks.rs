//! Draws what executors do with tasks, and the tasks that appends insert. It must not judge an answer.

use std::time::Duration;

use bytes::Bytes;
use pgworkflows::Timestamp;
use pgworkflows::id::{EventSeq, ExecutorId, MessageId, Name, RunId};
use pgworkflows::store::{Append, NewTask, ReturnedTask, TaskClaim, TaskId, Withdrawal, queue_of};

use crate::dice::Dice;
use crate::model::Model;
use crate::operation::{Operation, Reply};

/// What a sequence remembers of its tasks.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    /// All that were ever inserted.
    inserted: Vec<TaskId>,
    /// The claims that each executor ever had.
    executors: Vec<Vec<TaskClaim>>,
}

impl Tasks {
    /// Remembers the tasks of an append.
    pub(crate) fn appended(&mut self, append: &Append) {
        for task in &append.tasks {
            self.inserted.push(task.id);
            if let Some(held) = task.held() {
                self.had(held.executor.get() as usize, held.claim);
            }
        }
    }

    /// Remembers the answer to an operation.
    pub(crate) fn learn(&mut self, operation: &Operation, reply: &Reply) {
        if let Operation::ClaimTasks { executor, .. } = operation
            && let Reply::Tasks { tasks, .. } = reply
        {
            let number = executor.unwrap_or(self.executors.len());
            if executor.is_none() {
                self.executors.push(Vec::new());
            }
            tasks.iter().for_each(|(claim, ..)| self.had(number, *claim));
        }
    }

    fn had(&mut self, executor: usize, claim: TaskClaim) {
        self.executors.get_mut(executor).into_iter().for_each(|claims| claims.push(claim));
    }

    /// Mostly one of the newest executors, because others have ended; now and then one that never existed.
    fn executor(&self, dice: &mut Dice) -> usize {
        let count = self.executors.len();
        let oldest = if dice.chance(90) { count.saturating_sub(2) } else { 0 };
        if dice.chance(95) && count > 0 { oldest + dice.below(count - oldest) } else { 1_000 }
    }

    /// Some claims that this executor had, and now and then one that it never had.
    fn claims(&self, executor: usize, dice: &mut Dice) -> Vec<TaskClaim> {
        let had = self.executors.get(executor).cloned().unwrap_or_default();
        let mut claims: Vec<TaskClaim> = had.into_iter().filter(|_| dice.chance(50)).collect();
        if dice.chance(10) {
            let task = dice.pick(&self.inserted);
            claims.extend(task.map(|task| TaskClaim { task, number: 1 + dice.below(3) as u32 }));
        }
        claims.sort();
        claims.dedup();
        claims
    }
}

impl Model {
    /// Draws an operation of an executor, or of a run's owner.
    pub(crate) fn draw_of_tasks(&self, dice: &mut Dice) -> Operation {
        let executor = self.tasks.executor(dice);
        match dice.below(100) {
            0..45 => self.claim_tasks(executor, dice),
            45..65 => {
                let outcomes = self.tasks.claims(executor, dice).into_iter();
                let outcomes = outcomes.map(|claim| (claim, body("outcome of", claim.task.seq))).collect();
                Operation::SettleTasks { executor, outcomes }
            }
            65..85 => {
                let tasks = self.tasks.claims(executor, dice).into_iter();
                let tasks = tasks.map(|claim| returned(claim, dice)).collect();
                Operation::ReturnTasks { executor, tasks, ends: dice.chance(8) }
            }
            85..95 => {
                let tasks = self.tasks.inserted.iter().filter(|_| dice.chance(15)).copied();
                let tasks: Vec<TaskId> = tasks.collect();
                let withdrawal = |task: TaskId| Withdrawal {
                    task,
                    tells: dice.chance(40).then(|| body("withdrawal of", task.seq)),
                };
                Operation::WithdrawTasks(tasks.into_iter().map(withdrawal).collect())
            }
            _ => Operation::ActivityQueues,
        }
    }

    fn claim_tasks(&self, executor: usize, dice: &mut Dice) -> Operation {
        let is_new = self.tasks.executors.len() < 2 || dice.chance(8);
        let executor = (!is_new).then_some(executor);
        let named = (0..2).map(|number| self.activity_queue(number));
        let own = executor.map(own_queue).filter(|_| dice.chance(50));
        let queues: Vec<Name> = own.into_iter().chain(named).collect();
        // A new executor asks for no tasks.
        let mut count = |queue| (queue, if is_new { 0 } else { dice.below(4) as u32 });
        let queues = queues.into_iter().map(&mut count).collect();
        let activities = if dice.chance(70) { vec![activity(0), activity(1)] } else { vec![activity(1)] };
        let bytes = if dice.chance(30) { dice.below(60) } else { usize::MAX };
        let renew = is_new || dice.chance(40);
        let ahead = !is_new && dice.chance(3);
        Operation::ClaimTasks { executor, renew, ahead, queues, activities, bytes }
    }

    /// A task of a run that an append writes, of one of its events.
    pub(crate) fn task(&self, run: RunId, seq: EventSeq, dice: &mut Dice) -> NewTask {
        let executor = self.tasks.executor(dice);
        let has_it = dice.chance(30);
        let own = !has_it && dice.chance(30);
        NewTask {
            id: TaskId { run, seq },
            queue: if own { own_queue(executor) } else { self.activity_queue(dice.below(2)) },
            activity: activity(dice.below(2)),
            losses_max: dice.below(3) as u32,
            message: MessageId::from_u128(run.as_u128() ^ (10_000 + u128::from(seq.get()))),
            body: body("a task with a body of some bytes, number", seq),
            lost: body("loss of", seq),
            executor: has_it.then(|| ExecutorId::new(executor as u64)),
        }
    }

    fn activity_queue(&self, number: usize) -> Name {
        format!("{} tasks {number}", self.queue.name).into()
    }
}

/// The queue of the executor of that number. Each store replaces the number.
fn own_queue(executor: usize) -> Name {
    queue_of(ExecutorId::new(executor as u64))
}

fn activity(number: usize) -> Name {
    format!("activity {number}").into()
}

fn body(what: &str, seq: EventSeq) -> Bytes {
    Bytes::from(format!("{what} {seq}"))
}

fn returned(claim: TaskClaim, dice: &mut Dice) -> ReturnedTask {
    // No pause ends within a sequence.
    let pause = if dice.chance(20) { Duration::from_secs(365 * 24 * 3600) } else { Duration::ZERO };
    let problem = dice.chance(20).then(|| "it could not be read".to_owned());
    ReturnedTask { claim, begun: dice.chance(50), pause, problem }
}

/// The time since which tasks wait is the store's own.
pub(crate) fn timeless(at: Option<Timestamp>) -> Option<Timestamp> {
    at.map(|_| Timestamp::MIN)
}
