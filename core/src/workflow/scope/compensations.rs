//! The compensations that the code has registered, and the rounds that it began. It must not know how they are executed.

use super::Scope;
use super::call::Resolution;
use crate::data::call_map::CallMap;
use crate::data::id::CommandId;
use crate::data::limits;
use crate::data::outcome::Uncompensated;
use crate::workflow::command::{Command, Source};

/// What the code has registered and begun.
#[derive(Default)]
pub(super) struct Compensations {
    /// The calls whose compensations no round has.
    registered: CallMap<()>,
    /// How many rounds have begun and not ended.
    rounds: usize,
}

impl Scope {
    /// Notes that a call has registered a compensation.
    pub(crate) fn register_compensation(&self, id: CommandId) {
        self.inner.borrow_mut().compensations.get_or_insert_default().registered.insert(id, ());
    }

    /// Discards a compensation. Returns false if a round has it, or had it.
    pub(crate) fn discard_compensation(&self, id: CommandId, source: Source) -> bool {
        let found = {
            let mut inner = self.inner.borrow_mut();
            inner.compensations.get_or_insert_default().registered.remove(id).is_some()
        };
        if found {
            self.at(source);
            self.issue(Command::DiscardCompensation { id }, source);
        }
        found
    }

    /// Whether a round would have nothing to execute and nothing to wait for.
    pub(crate) fn has_nothing_to_compensate(&self) -> bool {
        self.not_compensated() == 0
    }

    /// How many compensations are registered, and rounds of them have not ended.
    pub(super) fn not_compensated(&self) -> usize {
        let inner = self.inner.borrow();
        inner.compensations.as_ref().map_or(0, |some| some.registered.len() + some.rounds)
    }

    /// Begins a round, whose call is open already. Too many open rounds fault the run.
    pub(crate) fn begin_round(&self, id: CommandId, source: Source) {
        let rounds = {
            let mut inner = self.inner.borrow_mut();
            let compensations = inner.compensations.get_or_insert_default();
            compensations.registered.clear();
            compensations.rounds += 1;
            compensations.rounds
        };
        if rounds > limits::ROUNDS_OPEN_MAX {
            let max = limits::ROUNDS_OPEN_MAX;
            return self.fault(format!(
                "the workflow compensates at {source} while {max} earlier rounds have not ended, and the limit is {max}; \
                 await a round before the next begins"
            ));
        }
        self.issue(Command::BeginCompensations { id }, source);
    }

    /// A round has ended. If its future was dropped, what failed is of no use.
    pub(crate) fn round_ended(&self, id: CommandId, uncompensated: Vec<Uncompensated>) {
        self.inner.borrow_mut().compensations.get_or_insert_default().rounds -= 1;
        self.resolve(id, Resolution::Compensated(uncompensated));
    }
}
