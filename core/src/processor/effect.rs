//! What a processor asks its driver to do besides reads and appends. It must not know what caused it.

use tokio::sync::oneshot;

use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::store::watch::Notice;
use crate::workflow::command::StepRequest;

/// What the driver is to do. All that caused it is committed.
pub(crate) enum Effect {
    /// Execute an attempt of an activity.
    Execute(Attempt),
    /// Execute a step.
    ExecuteStep { run: RunId, workflow: Name, step: StepRequest },
    /// The outcome of an activity or a step is no longer wanted.
    Abort { run: RunId, id: CommandId },
    /// A run that a client of this process handed over is in the log.
    Accept { accepted: oneshot::Sender<()> },
    /// A run is over, and a client of this process waits for that.
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
    /// Of its run, for the worker's log.
    pub(crate) workflow: Name,
    pub(crate) key: Option<String>,
    pub(crate) scheduled_at: Timestamp,
}
