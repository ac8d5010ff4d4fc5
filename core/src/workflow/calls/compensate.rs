//! `ctx.compensate`: executes what is registered while the workflow goes on. It must not know how.

use std::rc::Rc;

use super::future::{CallSite, DurableCall, DurableFuture, Opened};
use crate::data::outcome::Uncompensated;
use crate::workflow::command::Source;
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::CallHandle;

/// A round of compensations, which begins at the first poll. Dropping the future ends nothing: the round goes on.
pub type CompensateFuture = DurableFuture<CompensateCall>;

/// Asks for nothing but what was registered.
#[derive(Debug)]
pub struct CompensateCall(());

impl DurableFuture<CompensateCall> {
    pub(crate) fn compensate(scope: &Rc<Scope>, source: Source) -> Self {
        Self::new(scope, "compensations", "", source, CompensateCall(()))
    }
}

impl DurableCall for CompensateCall {
    type Output = Vec<Uncompensated>;

    fn open(self, site: &CallSite) -> Option<Opened<Self::Output>> {
        if self.is_immediate(site) {
            return Some(Opened::Ready(Vec::new()));
        }
        let handle = CallHandle::open(&site.scope, CallKind::Round, site.source).outlives_cancellation();
        site.scope.begin_round(handle.id(), site.source);
        Some(Opened::Waits(handle))
    }

    fn is_immediate(&self, site: &CallSite) -> bool {
        site.scope.has_nothing_to_compensate()
    }

    fn is_shielded(&self) -> bool {
        true
    }

    fn value(_: &CallSite, resolution: Resolution) -> Option<Self::Output> {
        match resolution {
            Resolution::Compensated(uncompensated) => Some(uncompensated),
            Resolution::Value(_)
            | Resolution::Failed(_)
            | Resolution::Fired
            | Resolution::Asked(_)
            | Resolution::Cancelled => unreachable!("a round ends in one way"),
        }
    }
}
