//! What a processor asks of its driver besides reads and appends. It must not know what caused it.

use tokio::sync::oneshot;

use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::log::attempt::Attempt;
use crate::observe::spans::StepTag;
use crate::processor::children::ChildStart;
use crate::store::tasks::{HeldTask, Withdrawal};
use crate::store::watch::Notice;
use crate::workflow::command::StepRequest;

/// An instruction to the driver. Everything that caused it is committed.
pub(crate) enum Effect {
    /// Execute an attempt of an activity. Boxed, because effects are moved several times.
    Execute(Box<Attempt>),
    /// Execute a step.
    ExecuteStep { run: RunId, workflow: Name, tag: StepTag, step: Box<StepRequest> },
    /// Cancel an activity or a step whose outcome is no longer wanted.
    Abort { run: RunId, id: CommandId },
    /// The attempt of this call is a task of this process now: its task loop gets the outcome.
    HandOut { call: CommandId, task: HeldTask },
    /// Withdraw a task whose outcome is not awaited any more.
    Withdraw(Withdrawal),
    /// Submit the start of a child with a key.
    StartChild(Box<ChildStart>),
    /// Look a queue up in the store, for a run that has stalled because the worker does not know it.
    FindQueue { queue: Name, run: RunId },
    /// Tell a client of this process that the run it started is in the log.
    Accept { accepted: oneshot::Sender<()> },
    /// Tell a client of this process that the run it started is over.
    Tell { notice: Box<Notice>, watcher: oneshot::Sender<Notice> },
}
