//! The handle by which a durable future owns its call. It must not know what the call is for.

use std::fmt;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};

use super::Scope;
use super::arrivals::Kind;
use super::call::{Asked, CallKind, OpenCall, Resolution};
use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::workflow::command::Source;

/// A durable future's handle on its call. Dropping it cancels an unresolved call durably.
pub(crate) struct CallHandle {
    scope: Rc<Scope>,
    id: CommandId,
    done: bool,
}

impl CallHandle {
    /// Opens a call of that kind with the next id.
    pub(crate) fn open(scope: &Rc<Scope>, kind: CallKind, source: Source) -> Self {
        Self::open_with(scope, |_| kind, source)
    }

    /// Opens a call of a kind that depends on its id.
    pub(crate) fn open_with(
        scope: &Rc<Scope>,
        kind: impl FnOnce(CommandId) -> CallKind,
        source: Source,
    ) -> Self {
        let (id, within) = (scope.next_id(source), scope.cancellations.current());
        let kind = kind(id);
        let mut inner = scope.inner.borrow_mut();
        inner.unresolved += u32::from(kind.is_external());
        if let CallKind::Arrival(kind, name) = &kind {
            inner.arrivals(*kind).open(name);
        }
        inner.calls.insert(
            id,
            OpenCall { kind, source, waker: None, within, outlives_cancellation: false, resolution: None },
        );
        Self { scope: Rc::clone(scope), id, done: false }
    }

    /// Opens a call again under the id that it has. It may be resolved already.
    pub(super) fn open_again(
        scope: &Rc<Scope>,
        id: CommandId,
        kind: CallKind,
        resolution: Option<Resolution>,
        source: Source,
    ) -> Self {
        let within = scope.cancellations.current();
        let mut inner = scope.inner.borrow_mut();
        inner.unresolved += u32::from(resolution.is_none());
        inner.calls.insert(
            id,
            OpenCall { kind, source, waker: None, within, outlives_cancellation: false, resolution },
        );
        Self { scope: Rc::clone(scope), id, done: false }
    }

    /// Leaves the call, which is a child's, without cancelling it: the scope carries the child.
    pub(crate) fn carry(mut self) {
        self.done = true;
        self.scope.carry(self.id);
    }

    /// Has the call go on, whatever is cancelled.
    pub(crate) fn outlives_cancellation(self) -> Self {
        if let Some(call) = self.scope.inner.borrow_mut().calls.get_mut(self.id) {
            call.outlives_cancellation = true;
        }
        self
    }

    pub(crate) fn id(&self) -> CommandId {
        self.id
    }

    /// The child that the call started, if it is a child's.
    pub(crate) fn child(&self) -> Option<RunId> {
        match &self.scope.inner.borrow().calls.get(self.id)?.kind {
            CallKind::Child(child) => Some(child.child),
            CallKind::Activity(_)
            | CallKind::Step(_)
            | CallKind::Timer(_)
            | CallKind::Arrival(..)
            | CallKind::Condition
            | CallKind::Permit(_)
            | CallKind::Round => None,
        }
    }

    /// Whether the call's resolution is that it fired, and was not taken.
    pub(crate) fn is_fired(&self) -> bool {
        let inner = self.scope.inner.borrow();
        inner.calls.get(self.id).is_some_and(|call| matches!(call.resolution, Some(Resolution::Fired)))
    }

    /// Whether its resolution was taken.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Returns the call's resolution, once.
    pub(crate) fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Resolution> {
        let is_resolved = |call: &OpenCall| call.resolution.is_some();
        let call = self.scope.inner.borrow_mut().calls.remove_if(self.id, is_resolved);
        let Some(call) = call else {
            self.wake_by(task.waker().clone());
            return Poll::Pending;
        };
        self.done = true;
        call.resolution.map_or(Poll::Pending, Poll::Ready)
    }

    /// Sets the call's waker. Wakers belong to the user's combinators and may call back into this scope, so they are
    /// cloned and dropped while it is not borrowed.
    fn wake_by(&self, waker: Waker) {
        let unused = match self.scope.inner.borrow_mut().calls.get_mut(self.id) {
            Some(call) => call.waker.replace(waker),
            None => Some(waker),
        };
        drop(unused);
    }

    /// Returns the next arrival of that name, or the call's resolution.
    pub(crate) fn poll_arrival(
        &mut self,
        kind: Kind,
        name: &Name,
        task: &mut TaskContext<'_>,
    ) -> Poll<Resolution> {
        let taken = {
            let mut inner = self.scope.inner.borrow_mut();
            let cancelled = inner.calls.get(self.id).is_some_and(|call| call.resolution.is_some());
            if cancelled {
                inner.arrivals(kind).forget_call(name, self.id);
            }
            let taken = if cancelled { None } else { inner.arrivals(kind).take(name, self.id) };
            taken.map(|arrival| {
                inner.unresolved -= 1;
                inner.took(&arrival);
                (arrival, inner.calls.remove(self.id))
            })
        };
        let Some((arrival, _call)) = taken else {
            let polled = self.poll(task);
            if polled.is_pending() {
                self.scope.inner.borrow_mut().arrivals(kind).wait(name, self.id);
            }
            return polled;
        };
        self.done = true;
        Poll::Ready(match kind {
            Kind::Signal => Resolution::Value(arrival.payload),
            Kind::Update => Resolution::Asked(Box::new(Asked { id: self.id, arrival })),
        })
    }
}

impl Drop for CallHandle {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let unresolved = {
            let inner = self.scope.inner.borrow();
            let call = inner.calls.get(self.id);
            call.is_some_and(|call| call.resolution.is_none() && call.kind.is_external())
        };
        if unresolved {
            self.scope.cancel_call(self.id);
        }
        let call = {
            let mut inner = self.scope.inner.borrow_mut();
            inner.unresolved -= u32::from(unresolved);
            let call = inner.calls.remove(self.id);
            if let Some(CallKind::Arrival(kind, name)) = call.as_ref().map(|call| &call.kind) {
                inner.arrivals(*kind).forget_call(name, self.id);
            }
            call
        };
        // Its waker may call back into this scope, as above.
        drop(call);
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallHandle({})", self.id)
    }
}
