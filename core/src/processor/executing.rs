//! The attempts and steps of one run that the executor has. It must not know what they do.

use crate::data::call_map::CallMap;
use crate::data::id::CommandId;

/// The attempts and steps of a run that were handed to the executor, or will be after a commit.
#[derive(Default)]
pub(super) struct Executing {
    attempts: CallMap<u32>,
    steps: CallMap<()>,
}

impl Executing {
    pub(super) fn begin_attempt(&mut self, call: CommandId, attempt: u32) {
        self.attempts.insert(call, attempt);
    }

    /// Whether an attempt of this activity is being executed.
    pub(super) fn has_attempt(&self, call: CommandId) -> bool {
        self.attempts.contains(call)
    }

    /// An attempt ended. Returns whether it was being executed: otherwise its outcome is not wanted.
    pub(super) fn end_attempt(&mut self, call: CommandId, attempt: u32) -> bool {
        self.attempts.remove_if(call, |executed| *executed == attempt).is_some()
    }

    /// The outcome of this activity is no longer wanted. Returns whether an attempt was being executed.
    pub(super) fn drop_attempt(&mut self, call: CommandId) -> bool {
        self.attempts.remove(call).is_some()
    }

    pub(super) fn begin_step(&mut self, call: CommandId) {
        self.steps.insert(call, ());
    }

    /// A step ended, or its outcome is no longer wanted. Returns whether it was being executed.
    pub(super) fn end_step(&mut self, call: CommandId) -> bool {
        self.steps.remove(call).is_some()
    }

    pub(super) fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.attempts.len() + self.steps.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.steps.is_empty()
    }

    /// Drops everything, and returns the calls that were being executed.
    pub(super) fn drop_all(&mut self) -> impl Iterator<Item = CommandId> + use<> {
        let attempts = std::mem::take(&mut self.attempts).into_iter().map(|(call, _)| call);
        attempts.chain(std::mem::take(&mut self.steps).into_iter().map(|(call, ())| call))
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
        assert!(!executing.end_attempt(call(1), 1), "an earlier attempt");
        assert!(!executing.end_attempt(call(2), 2), "an attempt of another activity");
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
