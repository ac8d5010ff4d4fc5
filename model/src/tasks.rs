//! Tasks: an activity that another process executes, or that its old process finishes after its shard was handed over.
//!
//! One run with one activity, and two processes, each of which can own the run and execute tasks under an executor lease of
//! its own. What an owner logs is a single step here, because the ownership model shows that it may be. What can be late or
//! lost are claims of tasks and their answers, outcomes, heartbeats, and whole processes.
//!
//! Left out: transactions of users, which have a model of their own, and the choice among many tasks.

mod database;
mod executor;
mod guard;
mod lease;
mod owner;
mod process;
mod property;
mod step;
#[cfg(test)]
mod tests;

pub use guard::Guard;
pub use step::Step;

use stateright::{Model, Property};

use crate::check::{Guards, Protocol};
use crate::tasks::database::Database;
use crate::tasks::process::{Process, Stage, Work};

/// The model, within bounds.
#[derive(Clone, Debug)]
pub struct Tasks {
    /// The rules that are kept.
    pub guards: Guards<Guard>,
    /// What kind of activity it is, and how often each thing happens.
    pub bounds: Bounds,
}

/// The activity, and how often each thing can happen to it on one way through the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Whether the activity may never be executed twice.
    pub at_most_once: bool,
    /// Whether the owner executes it itself at first. Otherwise it is a task from the beginning.
    pub local: bool,
    /// How many attempts may fail before the last one.
    pub retries: u8,
    /// How many processes may be lost while they have the task, before the run is told.
    pub losses: u8,
    /// Claims of tasks that are sent.
    pub claims: u8,
    /// Answers to claims that are lost.
    pub lost_answers: u8,
    /// Times at which an outcome is sent again, because the answer was lost.
    pub resends: u8,
    /// Executor leases whose time runs out.
    pub expiries: u8,
    /// Processes that die.
    pub crashes: u8,
    /// Times at which the run is handed over to the other process.
    pub hand_overs: u8,
    /// Times at which the other process takes the run over.
    pub takeovers: u8,
    /// Whether the run may cancel its activity.
    pub cancels: bool,
}

/// A moment of the system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// What is committed.
    pub(crate) database: Database,
    pub(crate) processes: [Process; 2],
    /// How often each attempt was begun.
    pub(crate) begun: [u8; 2],
    /// How often a process was lost that had the activity.
    pub(crate) lost: u8,
    /// What may still happen.
    pub(crate) left: Bounds,
}

impl Bounds {
    const NOTHING: Self = Self {
        at_most_once: false,
        local: false,
        retries: 0,
        losses: 1,
        claims: 0,
        lost_answers: 0,
        resends: 0,
        expiries: 0,
        crashes: 0,
        hand_overs: 0,
        takeovers: 0,
        cancels: false,
    };

    /// Two processes compete for a task that fails, is lost and is cancelled.
    pub const SHARED: Self =
        Self { retries: 1, claims: 3, resends: 1, expiries: 2, cancels: true, ..Self::NOTHING };

    /// The task may not be executed twice, although answers and processes are lost.
    pub const AT_MOST_ONCE: Self = Self {
        at_most_once: true,
        claims: 3,
        lost_answers: 1,
        resends: 1,
        expiries: 1,
        crashes: 1,
        ..Self::NOTHING
    };

    /// The activity runs in the process of its owner, and the run changes hands.
    pub const HAND_OVER: Self = Self {
        local: true,
        claims: 2,
        expiries: 1,
        hand_overs: 1,
        crashes: 1,
        takeovers: 1,
        ..Self::NOTHING
    };

    /// The same, for an activity that may not be executed twice.
    pub const HAND_OVER_ONCE: Self = Self { at_most_once: true, ..Self::HAND_OVER };
}

impl Protocol for Tasks {
    type Guard = Guard;

    fn without(guard: Guard) -> Self {
        let bounds = match guard {
            Guard::ClaimSharesLease
            | Guard::ClaimTakesFreeOnly
            | Guard::FenceFreesTasks
            | Guard::LossesAreCounted
            | Guard::OutcomeDeletesTask
            | Guard::OutcomeNamesAttempt
            | Guard::LateOutcomeIsDropped => Bounds::SHARED,
            Guard::ClaimAnswersAllHeld
            | Guard::ProcessKnowsItsTasks
            | Guard::SettledIsRemembered
            | Guard::AtMostOnceIsNotFreed => Bounds::AT_MOST_ONCE,
            Guard::AtMostOnceIsLoggedFirst => Bounds::HAND_OVER_ONCE,
            Guard::OwnOutcomeNamesLease | Guard::HandOutIsLogged | Guard::HandOverSharesLease => {
                Bounds::HAND_OVER
            }
        };
        Self { guards: Guards::without(guard), bounds }
    }

    fn tell(_: &State, step: Step) -> String {
        step.tell()
    }
}

impl Model for Tasks {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut processes = [Process::new(0), Process::new(1)];
        if self.bounds.local {
            processes[0].work = Some(Work { attempt: 1, stage: Stage::Claimed, local: Some(0) });
        }
        vec![State {
            database: Database::new(!self.bounds.local),
            processes,
            begun: [0; 2],
            lost: 0,
            left: self.bounds,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        step::offer(state, steps);
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
