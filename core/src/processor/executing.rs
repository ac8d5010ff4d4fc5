//! What the executor has of one run: attempts of activities, and steps. It must not know what they do.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::id::CommandId;

/// The attempts and steps of a run that were handed to the executor, or will be after a commit.
#[derive(Default)]
pub(super) struct Executing {
    attempts: BTreeMap<CommandId, u32>,
    steps: BTreeSet<CommandId>,
}

impl Executing {
    pub(super) fn begin_attempt(&mut self, call: CommandId, attempt: u32) {
        self.attempts.insert(call, attempt);
    }

    /// Whether an attempt of this activity is being executed.
    pub(super) fn has_attempt(&self, call: CommandId) -> bool {
        self.attempts.contains_key(&call)
    }

    /// An attempt ended. Whether it was being executed: its outcome is wanted only then.
    pub(super) fn end_attempt(&mut self, call: CommandId, attempt: u32) -> bool {
        self.attempts.get(&call) == Some(&attempt) && self.attempts.remove(&call).is_some()
    }

    /// Nobody wants the outcome of this activity any more. Whether an attempt of it was being executed.
    pub(super) fn drop_attempt(&mut self, call: CommandId) -> bool {
        self.attempts.remove(&call).is_some()
    }

    pub(super) fn begin_step(&mut self, call: CommandId) {
        self.steps.insert(call);
    }

    /// A step ended, or nobody wants its outcome any more. Whether it was being executed.
    pub(super) fn end_step(&mut self, call: CommandId) -> bool {
        self.steps.remove(&call)
    }

    pub(super) fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.steps.is_empty()
    }

    /// Forgets all of it, and says what it was.
    pub(super) fn drop_all(&mut self) -> impl Iterator<Item = CommandId> + use<> {
        let attempts = std::mem::take(&mut self.attempts).into_keys();
        attempts.chain(std::mem::take(&mut self.steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::call;

    #[test]
    fn only_the_attempt_that_is_executed_ends() {
        let mut executing = Executing::default();
        executing.begin_attempt(call(1), 2);
        assert!(!executing.end_attempt(call(1), 1), "an attempt of before");
        assert!(!executing.end_attempt(call(2), 2), "another activity's");
        assert!(executing.end_attempt(call(1), 2));
        assert!(!executing.end_attempt(call(1), 2), "a second time");
        assert!(executing.is_empty());
    }

    #[test]
    fn everything_is_dropped_at_once() {
        let mut executing = Executing::default();
        executing.begin_attempt(call(2), 1);
        executing.begin_step(call(1));
        assert!(executing.has_steps());
        assert_eq!(executing.drop_all().collect::<Vec<_>>(), [call(2), call(1)]);
        assert!(executing.is_empty());
    }
}
