//! Balance: how the leases of a queue come to own the same number of shards, without a word to each other.
//!
//! Shards are alike, so only their numbers count. A lease decides at a heartbeat what it should own, and acts on that later,
//! when the others may have decided something else. Leases join, leave, and run out because their process died or is blocked.

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
pub struct Balance {
    /// The rules that are kept.
    pub guards: Guards<Guard>,
    /// How much there is.
    pub bounds: Bounds,
}

/// How much there is of each thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// The queue's shards.
    pub shards: u8,
    /// The leases that ever join.
    pub leases: u8,
    /// How many of them leave in order.
    pub leaves: u8,
    /// How many of their processes die or are blocked.
    pub failures: u8,
}

/// A moment of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The leases, oldest first.
    pub(crate) leases: Vec<Lease>,
    /// What may still happen.
    pub(crate) left: Bounds,
}

/// A lease that has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) health: Health,
    /// How many shards it owns.
    pub(crate) owned: u8,
    /// What it decided at its last heartbeat and has not done yet: to own that many.
    pub(crate) decided: Option<u8>,
}

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Health {
    Well,
    /// Its process is dead or blocked, but its time has not run out.
    Failed,
    /// It was released or fenced.
    Over,
}

impl State {
    /// The shards that no lease owns.
    pub(crate) fn free(&self, bounds: &Bounds) -> u8 {
        bounds.shards - self.leases.iter().map(|lease| lease.owned).sum::<u8>()
    }
}

impl Bounds {
    /// Shards that the leases cannot divide evenly.
    pub const UNEVEN: Self = Self { shards: 7, leases: 5, leaves: 1, failures: 2 };

    /// Shards that two and three leases can divide evenly.
    pub const EVEN: Self = Self { shards: 6, leases: 4, leaves: 2, failures: 2 };
}

impl Protocol for Balance {
    type Guard = Guard;

    fn without(guard: Guard) -> Self {
        Self { guards: Guards::without(guard), bounds: Bounds::UNEVEN }
    }

    fn tell(_: &State, step: Step) -> String {
        step.tell()
    }
}

impl Model for Balance {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State { leases: Vec::new(), left: self.bounds }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.push(Step::Join);
        for lease in 0..state.leases.len() {
            let each = [
                Step::Heartbeat(lease),
                Step::Act(lease),
                Step::Leave(lease),
                Step::Fail(lease),
                Step::RunOut(lease),
            ];
            steps.extend(each);
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        step.take(self, &mut next)?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::all()
    }
}
