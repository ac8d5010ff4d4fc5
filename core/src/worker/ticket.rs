//! What a driver and the executor share about one attempt: whether it began, and who gets its outcome. So an attempt can go
//! to the task loop of its process at any moment, and its outcome is never lost. It must not know what the attempt does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::tasks::HeldTask;
use crate::worker::executor::AttemptOutcome;

/// An attempt that a driver handed to the executor.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// It waits for a slot, or for a lease that can be trusted.
    #[default]
    Waiting,
    Running,
    /// It ended, and nobody has taken its outcome.
    Ended(AttemptOutcome),
    /// It is a task of this process, whose task loop gets the outcome.
    HandedOut(HeldTask),
    /// Its outcome was taken, or it never begins.
    Over,
}

/// How far an attempt is that is handed out.
#[derive(Debug)]
pub(crate) enum HandedOutAs {
    /// It has not begun, and never will in this process.
    NeverBegun,
    Running,
    Ended(AttemptOutcome),
}

impl Ticket {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The attempt is about to begin. Returns false if it must not.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.state();
        let may_begin = matches!(*state, State::Waiting);
        if may_begin {
            *state = State::Running;
        }
        may_begin
    }

    /// The attempt ended. Returns its task and the outcome if the task loop gets it; otherwise the driver is to take it.
    pub(crate) fn end(&self, outcome: AttemptOutcome) -> Option<(HeldTask, AttemptOutcome)> {
        let mut state = self.state();
        if let State::HandedOut(task) = *state {
            *state = State::Over;
            return Some((task, outcome));
        }
        *state = State::Ended(outcome);
        None
    }

    /// The driver takes the outcome.
    pub(crate) fn take(&self) -> Option<AttemptOutcome> {
        match std::mem::replace(&mut *self.state(), State::Over) {
            State::Ended(outcome) => Some(outcome),
            State::Waiting | State::Running | State::HandedOut(_) | State::Over => None,
        }
    }

    /// The attempt is this task from now on.
    pub(crate) fn hand_out(&self, task: HeldTask) -> HandedOutAs {
        let mut state = self.state();
        let (next, handed_out) = match std::mem::take(&mut *state) {
            State::Waiting | State::Over => (State::Over, HandedOutAs::NeverBegun),
            State::Running | State::HandedOut(_) => (State::HandedOut(task), HandedOutAs::Running),
            State::Ended(outcome) => (State::Over, HandedOutAs::Ended(outcome)),
        };
        *state = next;
        handed_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::{EventSeq, ExecutorId};
    use crate::store::tasks::{TaskClaim, TaskId};
    use crate::testing::run_id;

    fn task() -> HeldTask {
        let task = TaskId { run: run_id(1), seq: EventSeq::FIRST };
        HeldTask { executor: ExecutorId::FIRST, claim: TaskClaim { task, number: 1 } }
    }

    fn ended() -> AttemptOutcome {
        AttemptOutcome::Unreadable("an outcome".to_owned())
    }

    #[test]
    fn outcome_goes_to_the_driver_or_to_the_task_loop_and_never_to_both() {
        let driver = Ticket::default();
        assert!(driver.begin() && driver.end(ended()).is_none());
        assert!(driver.take().is_some() && driver.take().is_none());

        let handed_out = Ticket::default();
        assert!(handed_out.begin());
        assert!(matches!(handed_out.hand_out(task()), HandedOutAs::Running));
        assert!(handed_out.end(ended()).is_some() && handed_out.take().is_none());

        let late = Ticket::default();
        assert!(late.begin() && late.end(ended()).is_none());
        assert!(matches!(late.hand_out(task()), HandedOutAs::Ended(_)));
        assert!(late.take().is_none());
    }

    #[test]
    fn attempt_that_is_handed_out_before_it_begins_never_begins() {
        let ticket = Ticket::default();
        assert!(matches!(ticket.hand_out(task()), HandedOutAs::NeverBegun));
        assert!(!ticket.begin());
    }
}
