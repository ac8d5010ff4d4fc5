//! A durable future's claim on its call: how it is polled, and what dropping it means.

use std::fmt;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use super::Scope;
use super::call::{CallKind, OpenCall, Resolution};
use crate::data::id::CommandId;
use crate::data::name::Name;
use crate::workflow::command::Source;

/// A durable future's claim on its call. Dropping it unresolved cancels the call durably.
pub(crate) struct CallHandle {
    scope: Rc<Scope>,
    id: CommandId,
    done: bool,
}

impl CallHandle {
    /// Opens a call of that kind, under the next id.
    pub(crate) fn open(scope: &Rc<Scope>, kind: CallKind, source: Source) -> Self {
        let id = scope.next_id(source);
        let mut inner = scope.inner.borrow_mut();
        inner.unresolved += 1;
        inner.calls.insert(id, Box::new(OpenCall { kind, source, waker: None, resolution: None }));
        Self { scope: Rc::clone(scope), id, done: false }
    }

    pub(crate) fn id(&self) -> CommandId {
        self.id
    }

    /// The call's resolution, once.
    pub(crate) fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Resolution> {
        // Wakers are the user's combinators' code, which may call back into this scope: they are cloned and dropped
        // while it is not borrowed.
        let waker = task.waker().clone();
        let (call, _earlier) = {
            let mut inner = self.scope.inner.borrow_mut();
            match inner.calls.get_mut(&self.id) {
                None => return Poll::Pending,
                Some(call) if call.resolution.is_some() => (inner.calls.remove(&self.id), None),
                Some(call) => (None, call.waker.replace(waker)),
            }
        };
        let Some(call) = call else { return Poll::Pending };
        self.done = true;
        call.resolution.map_or(Poll::Pending, Poll::Ready)
    }

    /// The next buffered signal of that name, or the call's resolution.
    pub(crate) fn poll_signal(&mut self, signal: &Name, task: &mut TaskContext<'_>) -> Poll<Resolution> {
        let taken = {
            let mut inner = self.scope.inner.borrow_mut();
            inner.waits_no_more(signal, self.id);
            let cancelled = inner.calls.get(&self.id).is_some_and(|call| call.resolution.is_some());
            let taken = if cancelled { None } else { inner.take_signal(signal) };
            taken.map(|payload| {
                inner.unresolved -= 1;
                (payload, inner.calls.remove(&self.id))
            })
        };
        let Some((payload, _call)) = taken else {
            let polled = self.poll(task);
            if polled.is_pending() {
                let mut inner = self.scope.inner.borrow_mut();
                inner.waiters.entry(signal.clone()).or_default().insert(self.id);
            }
            return polled;
        };
        self.done = true;
        Poll::Ready(Resolution::Value(payload))
    }
}

impl Drop for CallHandle {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let unresolved = {
            let inner = self.scope.inner.borrow();
            inner.calls.get(&self.id).is_some_and(|call| call.resolution.is_none())
        };
        if unresolved {
            self.scope.cancel_call(self.id);
        }
        let call = {
            let mut inner = self.scope.inner.borrow_mut();
            inner.unresolved -= usize::from(unresolved);
            let call = inner.calls.remove(&self.id);
            if let Some(CallKind::Signal(signal)) = call.as_ref().map(|call| &call.kind) {
                inner.waits_no_more(signal, self.id);
            }
            call
        };
        // Its waker is the user's combinators' code, as above.
        drop(call);
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallHandle({})", self.id)
    }
}
