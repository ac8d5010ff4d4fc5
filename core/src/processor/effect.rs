//! What a processor asks of its driver besides reads and appends. It must not know what caused it.

use tokio::sync::oneshot;

use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::store::watch::Notice;
use crate::workflow::command::StepRequest;

/// An instruction to the driver. Everything that caused it is committed.
pub(crate) enum Effect {
    /// Execute an attempt of an activity. Boxed, because effects are moved several times.
    Execute(Box<Attempt>),
    /// Execute a step.
    ExecuteStep { run: RunId, workflow: Name, step: Box<StepRequest> },
    /// Cancel an activity or a step whose outcome is no longer wanted.
    Abort { run: RunId, id: CommandId },
    /// Tell a client of this process that the run it started is in the log.
    Accept { accepted: oneshot::Sender<()> },
    /// Tell a client of this process that the run it started is over.
    Tell { notice: Box<Notice>, watcher: oneshot::Sender<Notice> },
}

/// An attempt of an activity.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) run: RunId,
    pub(crate) id: CommandId,
    pub(crate) attempt: u32,
    pub(crate) activity: Name,
    pub(crate) input: Payload,
    pub(crate) options: ActivityOptions,
    /// The run's workflow and key, for the worker's log.
    pub(crate) workflow: Name,
    pub(crate) key: Option<String>,
    pub(crate) scheduled_at: Timestamp,
}
