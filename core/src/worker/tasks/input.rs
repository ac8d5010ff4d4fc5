//! What a task loop is told by the other threads of its worker. It must not know what it does about that.

use std::time::Duration;

use crate::data::cancellation::Cancellation;
use crate::data::id::CommandId;
use crate::store::tasks::{HeldTask, TaskClaim, Withdrawal};
use crate::worker::executor::AttemptOutcome;

/// What the task loop is told by other threads.
#[derive(Debug)]
pub(crate) enum TaskInput {
    /// The outcome of a task is not awaited any more by its run.
    Withdraw(Withdrawal),
    /// A task ended.
    Ended { task: HeldTask, of: TaskOf, outcome: AttemptOutcome },
    /// An append on its way makes these attempts of this process tasks, unless it fails.
    Expect(Vec<TaskClaim>),
    /// Such an attempt is a task now. Without a cancellation, it never began.
    HandedOut { task: HeldTask, cancellation: Option<Cancellation> },
    /// Such attempts were cancelled, and nobody knows whether they are tasks.
    Interrupted(Vec<TaskClaim>),
    /// Claim no more tasks, and give back those that are still running after the grace.
    Shutdown { grace: Duration },
}

/// What the message says of a task that tells how it ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskOf {
    pub(crate) call: CommandId,
    /// Whether it counts even if its run has given it up.
    pub(crate) transactional: bool,
}

impl TaskOf {
    /// An attempt that began before it became a task: no transactional one does.
    pub(crate) fn handed_out(call: CommandId) -> Self {
        Self { call, transactional: false }
    }
}
