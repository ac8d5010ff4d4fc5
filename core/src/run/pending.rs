//! What a run waits for or has registered, according to its log. It must not know how the log changes it.

use std::sync::Arc;

use crate::data::call_map::CallMap;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, EventSeq};
use crate::data::limits;
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
    pub(crate) failed: FailedCompensations,
}

/// Compensations that failed for good, in the order of their execution. The event at their end repeats their failures, so these
/// are bounded together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FailedCompensations {
    list: Vec<Uncompensated>,
    bytes: usize,
}

impl FailedCompensations {
    pub(super) fn push(&mut self, activity: &Name, failure: &Failure) {
        let bytes = self.bytes + failure.bytes();
        let failure = if bytes > limits::UNCOMPENSATED_BYTES_MAX && !self.list.is_empty() {
            let (left_out, max) = (failure.bytes(), limits::UNCOMPENSATED_BYTES_MAX);
            Failure::new(
                "left-out",
                format!(
                    "{left_out} bytes, left out because the limit is {max} bytes for all: see `compensation.failed` in the history"
                ),
            )
        } else {
            self.bytes = bytes;
            failure.clone()
        };
        self.list.push(Uncompensated { activity: activity.to_string(), failure });
    }

    pub(crate) fn list(&self) -> &[Uncompensated] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::payload;

    #[test]
    fn failures_of_many_compensations_are_bounded_and_every_activity_is_named() {
        let (mut failed, name) = (FailedCompensations::default(), Name::from_static("refund"));
        let failure = Failure::new("io", "broken pipe").with_details(&"x".repeat(1 << 20));
        (0..20).for_each(|_| failed.push(&name, &failure));
        let types = failed.list().iter().map(|failed| failed.failure.type_name.as_str());
        assert!(types.eq([["io"; 7].as_slice(), &["left-out"; 13]].concat()));
        assert!(failed.list().iter().all(|failed| failed.activity == "refund"));

        // And one of any size is told
        let (mut failed, large) =
            (FailedCompensations::default(), "x".repeat(limits::UNCOMPENSATED_BYTES_MAX));
        failed.push(&name, &Failure { details: Some(payload(&large)), ..failure });
        assert_eq!(failed.list()[0].failure.type_name, "io");
    }
}
