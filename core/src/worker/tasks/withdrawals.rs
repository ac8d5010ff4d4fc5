//! The tasks that are to be withdrawn. It is a state machine without I/O, and must not know why a task is.

use std::collections::VecDeque;

use crate::data::limits;
use crate::store::tasks::{TaskId, Withdrawal};

/// The tasks that are to be withdrawn.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    waiting: VecDeque<Withdrawal>,
    /// Those that somebody had locked.
    locked: Vec<Withdrawal>,
}

impl Withdrawals {
    /// Adds one. If too many wait, it is left out, and the task is executed in vain. But a run that is to be told would wait
    /// for ever.
    pub(super) fn add(&mut self, withdrawal: Withdrawal) {
        let waiting = self.waiting.len() + self.locked.len();
        if waiting < limits::WITHDRAWALS_MAX || withdrawal.tells.is_some() {
            self.waiting.push_back(withdrawal);
        }
    }

    /// The next ones to ask for, as many as fit into a request.
    pub(super) fn next(&self) -> Option<Vec<Withdrawal>> {
        let next: Vec<_> = self.waiting.iter().take(limits::TASKS_BATCH_MAX).cloned().collect();
        (!next.is_empty()).then_some(next)
    }

    /// So many were asked for, of which somebody had these locked.
    pub(super) fn answered(&mut self, count: usize, locked: &[TaskId]) {
        let asked = self.waiting.drain(..count);
        self.locked.extend(asked.filter(|withdrawal| locked.contains(&withdrawal.task)));
    }

    /// Whether there are any that somebody had locked.
    pub(super) fn has_locked(&self) -> bool {
        !self.locked.is_empty()
    }

    /// Has those asked for again that somebody had locked.
    pub(super) fn ask_again(&mut self) {
        self.waiting.extend(self.locked.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::data::id::EventSeq;
    use crate::testing::run_id;

    fn withdrawal(seq: u32) -> Withdrawal {
        Withdrawal { task: TaskId { run: run_id(1), seq: EventSeq::new(seq) }, tells: None }
    }

    #[test]
    fn only_locked_tasks_are_asked_for_again() {
        let mut withdrawals = Withdrawals::default();
        [1, 2, 3].into_iter().for_each(|seq| withdrawals.add(withdrawal(seq)));
        let asked = withdrawals.next().unwrap();
        assert_eq!(asked.len(), 3);
        withdrawals.add(withdrawal(4));
        withdrawals.answered(3, &[withdrawal(2).task]);
        assert_eq!(withdrawals.next(), Some(vec![withdrawal(4)]));
        assert!(withdrawals.has_locked());
        withdrawals.ask_again();
        assert_eq!(withdrawals.next(), Some(vec![withdrawal(4), withdrawal(2)]));
        withdrawals.answered(2, &[]);
        assert!(withdrawals.next().is_none() && !withdrawals.has_locked());
    }

    #[test]
    fn only_a_withdrawal_that_tells_its_run_exceeds_the_limit() {
        let mut withdrawals = Withdrawals::default();
        (0..=limits::WITHDRAWALS_MAX as u32).for_each(|seq| withdrawals.add(withdrawal(seq)));
        withdrawals.add(Withdrawal { tells: Some(Bytes::new()), ..withdrawal(u32::MAX) });
        assert_eq!(withdrawals.waiting.len(), limits::WITHDRAWALS_MAX + 1);
        assert_eq!(withdrawals.waiting.back().unwrap().task, withdrawal(u32::MAX).task);
    }
}
