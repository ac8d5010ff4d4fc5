//! `ctx.until`: waits until a condition of the workflow's own state is true. It must not know what changes the state.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use futures::future::FusedFuture;

use super::scoped::Scoped;
use super::select::Arm;
use super::timeout::Durable;
use crate::workflow::command::Source;
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::CallKind;
use crate::workflow::scope::call_handle::CallHandle;

/// A wait for a condition: see [`Context::until`](crate::workflow::Context::until).
#[must_use = "a wait does nothing until it is awaited"]
pub struct UntilFuture<F> {
    scope: Rc<Scope>,
    source: Source,
    condition: F,
    state: State,
}

enum State {
    New,
    Waiting(CallHandle),
    Done,
}

impl<F: FnMut() -> bool> UntilFuture<F> {
    pub(crate) fn new(scope: &Rc<Scope>, condition: F, source: Source) -> Self {
        Self { scope: Rc::clone(scope), source, condition, state: State::New }
    }

    /// Ends the wait, before its code continues.
    fn done(&mut self) {
        if let State::Waiting(handle) = std::mem::replace(&mut self.state, State::Done) {
            self.scope.forget_condition(handle.id());
        }
    }
}

/// No field is pinned.
impl<F> Unpin for UntilFuture<F> {}

impl<F: FnMut() -> bool> Future for UntilFuture<F> {
    type Output = WorkflowResult<()>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let State::Done = this.state {
            return Poll::Pending;
        }
        if let State::Waiting(handle) = &mut this.state
            && handle.poll(task).is_ready()
        {
            // Only a cancellation resolves it.
            this.done();
            return Poll::Ready(Err(WorkflowError::cancelled()));
        }
        if (this.condition)() {
            this.done();
            return Poll::Ready(Ok(()));
        }
        if let State::New = this.state {
            let mut handle = CallHandle::open(&this.scope, CallKind::Condition, this.source);
            this.scope.wait_for_condition(handle.id());
            // It is not resolved yet, and keeps the waker.
            assert!(handle.poll(task).is_pending(), "a call that was just opened has no resolution");
            this.state = State::Waiting(handle);
        }
        Poll::Pending
    }
}

impl<F> Drop for UntilFuture<F> {
    fn drop(&mut self) {
        if let State::Waiting(handle) = &self.state {
            self.scope.forget_condition(handle.id());
        }
    }
}

impl<F: FnMut() -> bool> FusedFuture for UntilFuture<F> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl<F> Scoped for UntilFuture<F> {
    fn scope(&self) -> &Rc<Scope> {
        &self.scope
    }

    fn subject(&self) -> String {
        format!("the condition at {}", self.source)
    }
}

impl<F: FnMut() -> bool> Durable<()> for UntilFuture<F> {}
impl<F: FnMut() -> bool> Arm for UntilFuture<F> {}

impl<F> fmt::Debug for UntilFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UntilFuture(at {})", self.source)
    }
}
