//! `ctx.branch`: a durable future of any code of the workflow, for `select!` and `.timeout(…)`. It has no command of its own,
//! and must not know what the code does.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use futures::future::{FusedFuture, LocalBoxFuture};

use super::scoped::Scoped;
use super::select::Arm;
use super::timeout::Durable;
use crate::workflow::command::Source;
use crate::workflow::error::WorkflowError;
use crate::workflow::scope::Scope;
use crate::workflow::scope::cancellation::CancelScope;

/// A part of a workflow as a future: see [`Context::branch`](crate::workflow::context::Context::branch).
#[must_use = "a branch does nothing until it is awaited"]
pub struct BranchFuture<'a, T> {
    scope: Rc<Scope>,
    source: Source,
    /// Its own part of the code, if it is shielded.
    shield: Option<Rc<CancelScope>>,
    /// `None` once it is done.
    code: Option<LocalBoxFuture<'a, T>>,
}

impl<'a, T> BranchFuture<'a, T> {
    pub(crate) fn new(scope: &Rc<Scope>, code: impl Future<Output = T> + 'a, source: Source) -> Self {
        Self { scope: Rc::clone(scope), source, shield: None, code: Some(Box::pin(code)) }
    }

    /// The same, shielded from the cancellations of the code around it.
    pub(crate) fn shielded(scope: &Rc<Scope>, code: impl Future<Output = T> + 'a, source: Source) -> Self {
        Self { shield: Some(CancelScope::new(true)), ..Self::new(scope, code, source) }
    }
}

impl<T> Future for BranchFuture<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<T> {
        let Self { scope, shield, code, .. } = &mut *self;
        let Some(polled) = code else { return Poll::Pending };
        let output = match shield {
            Some(shield) => ready!(scope.enclosed(shield, || polled.as_mut().poll(task))),
            None => ready!(polled.as_mut().poll(task)),
        };
        *code = None;
        Poll::Ready(output)
    }
}

impl<T> FusedFuture for BranchFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.code.is_none()
    }
}

impl<T> Scoped for BranchFuture<'_, T> {
    fn scope(&self) -> &Rc<Scope> {
        &self.scope
    }

    fn subject(&self) -> String {
        format!("the branch at {}", self.source)
    }
}

impl<T, E: From<WorkflowError>> Durable<T, E> for BranchFuture<'_, Result<T, E>> {}
impl<T> Arm for BranchFuture<'_, T> {}

impl<T> fmt::Debug for BranchFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BranchFuture(at {})", self.source)
    }
}
