//! How a permit is granted to a call that waits, and why none ever will be. It must not know which futures hold permits.

use std::rc::Rc;

use super::Scope;
use super::call::{CallKind, Resolution};
use super::permits::Permits;
use crate::data::id::CommandId;
use crate::workflow::command::Source;

/// How many waits a diagnosis names.
const WAITS_SHOWN: usize = 4;

impl Scope {
    /// Grants a permit to a call that waits for one. Returns false if the call was cancelled.
    pub(crate) fn grant(&self, call: CommandId) -> bool {
        let waits = {
            let inner = self.inner.borrow();
            inner.calls.get(call).is_some_and(|call| call.resolution.is_none())
        };
        if waits {
            self.resolve(call, Resolution::Fired);
        }
        waits
    }

    /// Why no call can ever be resolved, if all of them wait for permits of the run itself.
    pub(crate) fn deadlock(&self) -> Option<String> {
        let inner = self.inner.borrow();
        let unresolved = inner.calls.iter().filter(|(_, call)| call.resolution.is_none());
        let waits: Vec<(Rc<Permits>, Source)> = unresolved
            .filter_map(|(_, call)| match &call.kind {
                CallKind::Permit(permits) => Some((Rc::clone(permits), call.source)),
                CallKind::Activity(_)
                | CallKind::Step(_)
                | CallKind::Timer(_)
                | CallKind::Arrival(..)
                | CallKind::Condition
                | CallKind::Child(_)
                | CallKind::Round => None,
            })
            .collect();
        match &waits[..] {
            [] => None,
            [(permits, source)] => Some(format!(
                "waits for {permits} at {source} for ever, because {} has it and nothing else of the run can continue: a \
                 branch that asks for it twice waits for itself; drop the first guard before (`drop(guard)`)",
                permits.holders()
            )),
            _ => {
                let words = |(permits, source): &(Rc<Permits>, Source)| {
                    format!("{permits} is waited for at {source}, and {} has it", permits.holders())
                };
                let shown: Vec<String> = waits.iter().take(WAITS_SHOWN).map(words).collect();
                Some(format!(
                    "is deadlocked: its branches wait for each other, and for nothing else ({} waits: {}); take mutexes and \
                     permits in the same order everywhere, and take none twice in one branch",
                    waits.len(),
                    shown.join("; ")
                ))
            }
        }
    }
}
