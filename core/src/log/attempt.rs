//! An attempt of an activity: everything that its execution needs, in this process or, as the body of a task, in another
//! one. It must not know who executes it.

use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;

/// An attempt of an activity.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The place in a trace at which the run was started.
    pub(crate) trace: Option<Box<TraceContext>>,
}
