//! Tasks: attempts of activities that any process may execute. An append inserts them; an executor, of which a process has
//! one, claims them under a lease of its own, and reports how they ended to the inbox of their runs. It must not know what a
//! task does.
//!
//! **No append locks a task.** Appends only insert. A task is claimed, settled, returned and withdrawn by statements of
//! their own, which skip what somebody else has locked: a store may let a transaction of the user's settle its own task, and
//! keep it locked meanwhile.

use std::time::Duration;

use bytes::Bytes;

use crate::data::derived::{derived_u64, derived_u128};
use crate::data::id::{EventSeq, ExecutorId, MessageId, RunId};
use crate::data::name::Name;
use crate::data::time::Timestamp;

/// Identifies a task: the run, and the number of the event that enqueued it. So no task is inserted twice, and a late
/// outcome is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The run that asked for it.
    pub run: RunId,
    /// The number of the event that enqueued it.
    pub seq: EventSeq,
}

impl TaskId {
    /// The id of the message that tells the run how the task ended. There is one such message at most.
    pub(crate) fn message(self) -> MessageId {
        let (run, seq) = (self.run.as_u128().to_be_bytes(), self.seq.get().to_be_bytes());
        MessageId::from_u128(derived_u128(&[b"task", &run, &seq]))
    }
}

/// One claim of a task: what an executor names when it reports on the task. So a report that arrives late, after the task was
/// given back and claimed again, changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskClaim {
    /// The task.
    pub task: TaskId,
    /// How often the task has been claimed.
    pub number: u32,
}

/// A task that an executor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeldTask {
    /// The executor.
    pub executor: ExecutorId,
    /// The task, as the executor names it.
    pub claim: TaskClaim,
}

/// The activity queue that this executor alone serves: for activities that have to be executed where an earlier one was. Its
/// tasks are lost with the executor.
pub fn queue_of(executor: ExecutorId) -> Name {
    format!("{QUEUE_OF}{executor}").into()
}

/// The executor that alone serves this activity queue, if one does.
pub fn executor_of(queue: &str) -> Option<ExecutorId> {
    let number = queue.strip_prefix(QUEUE_OF)?;
    number.parse().ok().map(ExecutorId::new).filter(|executor| *queue_of(*executor) == *queue)
}

/// What the name of such a queue begins with.
const QUEUE_OF: &str = "executor:";

/// A task that an append inserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// The task.
    pub id: TaskId,
    /// The activity queue.
    pub queue: Name,
    /// The name of the activity: only an executor that knows it claims the task.
    pub activity: Name,
    /// How many executors may be lost while they have the task. With the next loss the task is over, and its run gets
    /// [`lost`](Self::lost).
    pub losses_max: u32,
    /// The id of the message that tells the run how the task ended.
    pub message: MessageId,
    /// What an executor needs, which only core reads.
    pub body: Bytes,
    /// The body of the message for the run if the task is lost.
    pub lost: Bytes,
    /// The executor that has the task from the beginning, as its first claim, because it executes the attempt already. If its
    /// lease is over, the task counts as lost at once.
    pub executor: Option<ExecutorId>,
}

impl NewTask {
    /// The task as the executor names it that has it from the beginning.
    pub fn held(&self) -> Option<HeldTask> {
        let claim = TaskClaim { task: self.id, number: 1 };
        self.executor.map(|executor| HeldTask { executor, claim })
    }
}

/// Renews an executor's lease, and claims tasks under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimTasks {
    /// The executor; `None` creates a new one. If the answer to that is lost, so are the tasks that were claimed: a caller
    /// first asks for none.
    pub executor: Option<ExecutorId>,
    /// How many renewals of this lease were acknowledged. A store that knows of fewer has lost commits, and answers that the
    /// executor was fenced.
    pub renewals: u64,
    /// The worker's name, for people.
    pub worker: String,
    /// How long to renew the lease; `None` does not renew it. A renewal also fences the leases of other executors that have
    /// expired, and asks which tasks this one has.
    pub renew: Option<Duration>,
    /// The activity queues that the executor serves, and how many tasks of each it can take now.
    pub queues: Vec<(Name, u32)>,
    /// The activities that it knows. No other tasks are claimed.
    pub activities: Vec<Name>,
    /// How many bytes of bodies to claim at most. The first task is claimed whatever its size.
    pub bytes: usize,
}

/// The answer to a [`ClaimTasks`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedTasks {
    /// The executor.
    pub executor: ExecutorId,
    /// The tasks that were claimed, those that were ready first before others.
    pub tasks: Vec<ClaimedTask>,
    /// After a renewal: the tasks that the executor had before this claim, ascending. A task that it does not know of was
    /// claimed by a call whose answer was lost. One that is missing was withdrawn.
    pub held: Option<Vec<TaskClaim>>,
    /// Whether tasks may be left that fit: because of the limit in bytes, or because those before them belonged to runs that are
    /// over, and were deleted.
    pub more: bool,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

/// A task that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedTask {
    /// The task, and the number of this claim.
    pub claim: TaskClaim,
    /// The activity queue.
    pub queue: Name,
    /// What the append said of it, which only core reads.
    pub body: Bytes,
}

/// Ends tasks: tells their runs how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleTasks {
    /// The executor that has them.
    pub executor: ExecutorId,
    /// The tasks, each with the body of the message for its run.
    pub outcomes: Vec<(TaskClaim, Bytes)>,
}

/// What became of the outcome of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The task is over, and its run is told.
    Told,
    /// The executor does not have the task: it was settled before, was withdrawn, or was taken away from the executor.
    Late,
    /// Somebody has the task locked, who may settle it otherwise: ask again later.
    Locked,
}

/// Ends a task whose outcome is not awaited any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// The task.
    pub task: TaskId,
    /// The body of a message for its run, if the run is to be told.
    pub tells: Option<Bytes>,
}

/// Gives tasks back, which others may then claim. No loss is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTasks {
    /// The executor that has them.
    pub executor: ExecutorId,
    /// The tasks.
    pub tasks: Vec<ReturnedTask>,
    /// Whether the executor ends. Each other task that it has counts as lost, as after a crash.
    pub ends: bool,
}

/// A task that is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnedTask {
    /// The task, as it was claimed.
    pub claim: TaskClaim,
    /// Whether its execution began. A task that survives no loss is then over, and its run gets the message that it is lost.
    pub begun: bool,
    /// How long nobody claims it.
    pub pause: Duration,
    /// Why it could not be executed, for people.
    pub problem: Option<String>,
}

/// An activity queue, as people see it: the tasks of one activity in it that are waiting or being executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityQueueInfo {
    /// The queue's name.
    pub queue: String,
    /// The activity's name.
    pub activity: String,
    /// How many tasks wait for an executor.
    pub waiting: u64,
    /// How many tasks an executor has.
    pub claimed: u64,
    /// When the oldest waiting task was enqueued.
    pub waiting_since: Option<Timestamp>,
    /// How many executors with a valid lease serve the queue and know the activity.
    pub executors: u32,
    /// Why an executor could not execute one of the waiting tasks, such as an input that it cannot read.
    pub problem: Option<String>,
}

/// Names an activity queue in a hint, which must be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueHash(u32);

impl QueueHash {
    /// The hash of a queue's name: the first 32 bits of its SHA-256.
    pub fn of(queue: &str) -> Self {
        Self((derived_u64(&[queue.as_bytes()]) >> 32) as u32)
    }

    /// The hash with this number, as a store sent it.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_id;

    #[test]
    fn queue_of_an_executor_names_it_and_no_other_queue_does() {
        let executor = ExecutorId::new(u64::MAX >> 4);
        assert_eq!(executor_of(&queue_of(executor)), Some(executor));
        for other in ["gpu", "executor:", "executor:gpu", "executor:-1", "executor:07", "executor:7 "] {
            assert_eq!(executor_of(other), None, "{other}");
        }
    }

    #[test]
    fn every_task_has_its_own_message() {
        let id = |run, seq| TaskId { run: run_id(run), seq: EventSeq::new(seq) };
        let messages = [id(1, 1), id(1, 2), id(2, 1)].map(TaskId::message);
        assert_eq!(id(1, 1).message(), messages[0]);
        assert!(messages[0] != messages[1] && messages[0] != messages[2] && messages[1] != messages[2]);
    }
}
