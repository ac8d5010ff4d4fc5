//! The attempts, steps and tasks of one run that are being executed. It must not know what they do.

use std::collections::BTreeMap;

use crate::data::call_map::CallMap;
use crate::data::id::{CommandId, EventSeq};

/// The attempts and steps of a run that were handed to the executor, or will be after a commit, and its tasks, which other
/// processes may have.
#[derive(Default)]
pub(super) struct Executing {
    attempts: CallMap<u32>,
    steps: CallMap<()>,
    tasks: BTreeMap<CommandId, ExecutingTask>,
}

/// A task that some process may have.
#[derive(Clone, Copy)]
struct ExecutingTask {
    /// The number of the event that enqueued it.
    seq: EventSeq,
    /// Whether the schedule of its activity is over, so that a statement is on its way which ends the task, unless that
    /// ends by itself.
    expires: bool,
}

impl ExecutingTask {
    fn new(seq: EventSeq) -> Self {
        Self { seq, expires: false }
    }
}

impl Executing {
    /// The tasks of a run that is loaded.
    pub(super) fn of_tasks(tasks: impl Iterator<Item = (CommandId, EventSeq)>) -> Self {
        let tasks = tasks.map(|(call, seq)| (call, ExecutingTask::new(seq)));
        Self { tasks: tasks.collect(), ..Self::default() }
    }

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

    pub(super) fn begin_task(&mut self, call: CommandId, task: EventSeq) {
        self.tasks.insert(call, ExecutingTask::new(task));
    }

    /// A task ended. Returns whether it was being executed: otherwise its outcome is not wanted.
    pub(super) fn end_task(&mut self, call: CommandId, task: EventSeq) -> bool {
        self.tasks.get(&call).is_some_and(|executed| executed.seq == task)
            && self.tasks.remove(&call).is_some()
    }

    /// The schedule of this activity is over. Returns its task, the first time.
    pub(super) fn expire_task(&mut self, call: CommandId) -> Option<EventSeq> {
        let task = self.tasks.get_mut(&call).filter(|task| !task.expires)?;
        task.expires = true;
        Some(task.seq)
    }

    /// Whether the task of this activity is going to end because its schedule is over.
    pub(super) fn expires(&self, call: CommandId) -> bool {
        self.tasks.get(&call).is_some_and(|task| task.expires)
    }

    /// The outcome of this activity is no longer wanted. Returns its task, if it is one.
    pub(super) fn drop_task(&mut self, call: CommandId) -> Option<EventSeq> {
        self.tasks.remove(&call).map(|task| task.seq)
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

    /// Whether this process executes nothing. Others may have tasks.
    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.steps.is_empty()
    }

    /// Drops the tasks that do not go on, and returns them.
    pub(super) fn drop_tasks(&mut self, goes_on: impl Fn(CommandId) -> bool) -> Vec<EventSeq> {
        let dropped = self.tasks.extract_if(.., |call, _| !goes_on(*call));
        dropped.map(|(_, task)| task.seq).collect()
    }

    /// Drops the attempts that do not go on, and all steps, and returns the calls.
    pub(super) fn drop_all_but(&mut self, goes_on: impl Fn(CommandId) -> bool) -> Vec<CommandId> {
        if self.is_empty() {
            return Vec::new();
        }
        let going: Vec<_> = self.attempts.iter().map(|(call, attempt)| (call, *attempt)).collect();
        let dropped = self.drop_all().filter(|call| !goes_on(*call)).collect();
        going.into_iter().filter(|(call, _)| goes_on(*call)).for_each(|(call, attempt)| {
            self.attempts.insert(call, attempt);
        });
        dropped
    }

    /// Drops everything that this process executes, and returns the calls.
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
    fn only_the_task_that_is_executed_ends() {
        // Given a task that this process does not execute itself
        let mut executing = Executing::default();
        executing.begin_task(call(1), EventSeq::new(4));
        assert!(executing.is_empty());
        // Then the outcome of an earlier task of the same activity is not wanted
        assert!(!executing.end_task(call(1), EventSeq::new(3)));
        assert!(executing.end_task(call(1), EventSeq::new(4)));
        assert!(!executing.end_task(call(1), EventSeq::new(4)), "a second time");
        executing.begin_task(call(2), EventSeq::new(5));
        assert_eq!(executing.drop_task(call(2)), Some(EventSeq::new(5)));
        assert_eq!(executing.drop_tasks(|_| false), []);
    }

    #[test]
    fn what_goes_on_is_not_dropped() {
        let mut executing = Executing::default();
        (1..=2).for_each(|id| executing.begin_attempt(call(id), 1));
        (3..=4).for_each(|id| executing.begin_task(call(id), EventSeq::new(id)));
        let goes_on = |call: CommandId| call.get().is_multiple_of(2);
        assert_eq!(executing.drop_all_but(goes_on), [call(1)]);
        assert_eq!(executing.drop_tasks(goes_on), [EventSeq::new(3)]);
        assert!(executing.end_attempt(call(2), 1) && executing.end_task(call(4), EventSeq::new(4)));
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
