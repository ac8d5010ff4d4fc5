//! Transactional activities: the writes of a user and the outcome of an activity, in one transaction of the user's.
//!
//! One run with one activity, whose row in `tasks` is moved from claimed to done by the transaction that also holds the user's
//! writes. That transaction can be paused for as long as it likes, before and after the move, while it holds the row's lock.
//! Two processes execute the activity; the run can cancel it or give up on it.

mod guard;
mod property;
mod step;
#[cfg(test)]
mod tests;

pub use guard::Guard;
pub use step::Step;

use stateright::{Model, Property};

use crate::check::{Guards, Protocol};

/// The model, within bounds.
#[derive(Clone, Debug)]
pub struct Transactions {
    /// The rules that are kept.
    pub guards: Guards<Guard>,
    /// How often each thing happens.
    pub bounds: Bounds,
}

/// How often each thing can happen on one way through the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Executor leases that are fenced, whatever their processes do.
    pub fences: u8,
    /// Transactions that are rolled back.
    pub rollbacks: u8,
    /// Whether the activity may take too long.
    pub times_out: bool,
    /// Cancellations that are cut.
    pub cancels: u8,
}

/// A moment of the system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) row: Option<Row>,
    /// Whether each executor lease is fenced. A lease's id is its index.
    pub(crate) fenced: Vec<bool>,
    /// The executor lease of each process.
    pub(crate) leases: [u8; 2],
    /// What each process executes.
    pub(crate) works: [Option<Work>; 2],
    /// How often the user's writes were committed.
    pub(crate) applied: u8,
    /// Whether an outcome waits in the inbox.
    pub(crate) told: bool,
    pub(crate) run: Run,
    /// What the owner has cut and not committed, and what it has still to do after a commit.
    pub(crate) cancelling: bool,
    pub(crate) withdrawing: bool,
    /// The properties of steps, rather than of states, that broke.
    pub(crate) broken: Vec<&'static str>,
    /// What may still happen.
    pub(crate) left: Bounds,
}

/// The committed row of `tasks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    /// The executor lease that has claimed it.
    pub(crate) holder: Option<u8>,
    pub(crate) done: bool,
}

/// A claimed activity in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Work {
    /// The lease under which it was claimed.
    pub(crate) lease: u8,
    pub(crate) stage: Stage,
}

/// How far a user's transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// It has not begun.
    Claimed,
    /// It has written what the user wants.
    Written,
    /// It has moved the row, if `row` says so, and holds its lock.
    Moved { row: bool },
    /// It is committed, and the row is to be moved afterwards.
    Committed,
}

/// What the log says of the activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Run {
    Waits,
    Completed,
    Failed,
    Cancelled,
    /// Cancelled, and then completed: the log shows both.
    CancelledAndCompleted,
}

impl Bounds {
    /// Processes are lost, transactions rolled back, and the run stops waiting.
    pub const ALL: Self = Self { fences: 3, rollbacks: 2, times_out: true, cancels: 2 };
}

impl Protocol for Transactions {
    type Guard = Guard;

    fn without(guard: Guard) -> Self {
        Self { guards: Guards::without(guard), bounds: Bounds::ALL }
    }

    fn tell(_: &State, step: Step) -> String {
        step.tell()
    }
}

impl Model for Transactions {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            row: Some(Row { holder: None, done: false }),
            fenced: vec![false; 2],
            leases: [0, 1],
            works: [None; 2],
            applied: 0,
            told: false,
            run: Run::Waits,
            cancelling: false,
            withdrawing: false,
            broken: Vec::new(),
            left: self.bounds,
        }]
    }

    fn actions(&self, _: &State, steps: &mut Vec<Step>) {
        steps.extend(Step::ALL);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        step.take(&self.guards, &mut next)?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::all()
    }
}
