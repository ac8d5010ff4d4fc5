//! What a run waits for or has registered, according to its log. It must not know how the log changes it.

use std::sync::Arc;

use crate::data::call_map::CallMap;
use crate::data::id::{CommandId, EventSeq};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::outcome::Uncompensated;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;

/// An activity without an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingActivity {
    pub(crate) name: Name,
    pub(crate) input: Payload,
    pub(crate) options: ActivityOptions,
    pub(crate) scheduled_at: Timestamp,
    /// The number of the current or next attempt, from 1 on.
    pub(crate) attempt: u32,
    /// Whether the log says that this attempt started.
    pub(crate) attempt_logged: bool,
    /// The number of attempts that were lost with their process while the run was a suspect.
    pub(crate) lost: u32,
    /// The task that the attempt is, if it is one.
    pub(crate) task: Option<Box<PendingTask>>,
    /// When the attempt starts, if not at once.
    pub(crate) retry_at: Option<Timestamp>,
    /// The beginning of the last attempt's failure, to show to people.
    pub(crate) last_failure: Option<Arc<LastFailure>>,
    pub(crate) compensation: bool,
}

impl PendingActivity {
    /// Whether it is a task that may record its own outcome at this moment.
    pub(crate) fn may_settle_itself(&self) -> bool {
        self.task.is_some() && self.options.get().transactional
    }
}

/// An attempt that another process may execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingTask {
    /// The number of the event that enqueued it.
    pub(crate) seq: EventSeq,
    /// The activity queue.
    pub(crate) queue: Name,
}

/// The beginning of an attempt's failure. Kept in an `Arc`, because most activities have none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LastFailure(pub(super) String);

impl LastFailure {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A compensation that is registered and not scheduled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingCompensation {
    pub(crate) activity: Name,
    pub(crate) input: Payload,
    pub(crate) options: ActivityOptions,
}

/// A round of compensations that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// The durable call that began it.
    pub(crate) id: CommandId,
    /// What is still to be executed, the last first.
    pub(crate) left: CallMap<PendingCompensation>,
    /// What failed.
    pub(crate) failed: Vec<Uncompensated>,
}
