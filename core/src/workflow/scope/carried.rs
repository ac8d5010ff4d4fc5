//! The children that no future of the code holds: those that its predecessor carried along, until the code takes them, and those
//! that the code carries for a successor. It must not know how a child is started, or how a successor begins.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Scope;
use super::call::{CallKind, OpenCall, OpenChild, Resolution};
use super::call_handle::CallHandle;
use crate::data::id::{CommandId, RunId};
use crate::data::limits;
use crate::data::name::Name;
use crate::workflow::command::Source;

/// A child that no future of the code holds.
#[derive(Debug)]
pub(crate) struct CarriedChild {
    pub(crate) child: OpenChild,
    /// Its outcome, if the run has it already.
    pub(crate) outcome: Option<Resolution>,
}

/// Such children, by the calls under which the run has them. Boxed, because most runs have none.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "every run is smaller by 16 bytes")]
pub(super) struct CarriedChildren(Option<Box<BTreeMap<CommandId, CarriedChild>>>);

impl CarriedChildren {
    /// A child has ended.
    pub(super) fn resolve(&mut self, id: CommandId, outcome: Resolution) {
        if let Some(child) = self.0.as_mut().and_then(|children| children.get_mut(&id)) {
            child.outcome.get_or_insert(outcome);
        }
    }

    fn insert(&mut self, id: CommandId, child: CarriedChild) {
        self.0.get_or_insert_default().insert(id, child);
    }

    /// Takes a child of that workflow.
    fn take(&mut self, run: RunId, workflow: &Name) -> Option<(CommandId, CarriedChild)> {
        let children = self.0.as_mut()?;
        let is_it =
            |carried: &CarriedChild| carried.child.child == run && carried.child.workflow == *workflow;
        let id = children.iter().find(|(_, carried)| is_it(carried)).map(|(id, _)| *id)?;
        Some((id, children.remove(&id)?))
    }

    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |children| children.len())
    }

    /// How many bytes the outcomes have that the run has already.
    fn bytes(&self) -> usize {
        let outcomes = self.0.iter().flat_map(|children| children.values()).map(|carried| &carried.outcome);
        outcomes
            .map(|outcome| match outcome {
                Some(Resolution::Value(result)) => result.bytes().len(),
                Some(Resolution::Failed(failure)) => failure.bytes(),
                Some(
                    Resolution::Fired
                    | Resolution::Compensated(_)
                    | Resolution::Cancelled
                    | Resolution::Asked(_),
                )
                | None => 0,
            })
            .sum()
    }

    /// Why they cannot all go along, if they cannot.
    pub(super) fn problem(&self) -> Option<String> {
        let (count, bytes) = (self.len(), self.bytes());
        let (count_max, bytes_max) = (limits::CHILDREN_CARRIED_MAX, limits::CHILDREN_CARRIED_BYTES_MAX);
        if count > count_max {
            return Some(format!(
                "{count} children along, and the limit is {count_max}: wait for some of them before"
            ));
        }
        (bytes > bytes_max).then(|| {
            format!(
                "children along whose outcomes have {bytes} bytes, and the limit is {bytes_max}: take some of them before"
            )
        })
    }
}

impl Scope {
    /// The run has a child under this call, which its predecessor carried along, or has given up. Its own calls come after it.
    pub(crate) fn carry_on(&self, id: CommandId, carried: Option<OpenChild>) {
        let mut inner = self.inner.borrow_mut();
        inner.next_command = id.next();
        if let Some(child) = carried {
            inner.carried.insert(id, CarriedChild { child, outcome: None });
        }
    }

    /// The future of a child gives it up for a successor, or for another future. It does not count as waited for any more.
    pub(super) fn carry(&self, id: CommandId) {
        let waker = {
            let mut inner = self.inner.borrow_mut();
            let Some(OpenCall { kind, waker, resolution, .. }) = inner.calls.remove(id) else { return };
            inner.unresolved -= u32::from(resolution.is_none());
            if let CallKind::Child(child) = kind {
                inner.carried.insert(id, CarriedChild { child: *child, outcome: resolution });
            }
            waker
        };
        // It is the user's, and may call back into this scope.
        drop(waker);
    }

    /// Opens the call of a child that is carried again; `None` if there is no such child of that workflow.
    pub(crate) fn take_carried(
        self: &Rc<Self>,
        run: RunId,
        workflow: &Name,
        source: Source,
    ) -> Option<CallHandle> {
        self.at(source);
        let (id, CarriedChild { child, outcome }) = self.inner.borrow_mut().carried.take(run, workflow)?;
        let is_open = outcome.is_none();
        let handle = CallHandle::open_again(self, id, CallKind::Child(Box::new(child)), outcome, source);
        // A cancellation that found no call finds this one.
        if is_open && self.take_latched() {
            self.cancel_open(id);
        }
        Some(handle)
    }

    /// Takes the children that go along to a successor, with the calls under which the run has them.
    pub(crate) fn take_all_carried(&self) -> BTreeMap<CommandId, CarriedChild> {
        self.inner.borrow_mut().carried.0.take().map(|children| *children).unwrap_or_default()
    }
}
