//! `ctx.continue_as_new`: ends the run at the end of this poll, and has another run of its chain go on. It must not know how
//! the successor begins.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use futures::future::FusedFuture;

use crate::data::payload::Payload;
use crate::workflow::Workflow;
use crate::workflow::command::Source;
use crate::workflow::scope::Scope;

/// The type of a value that never exists: `!`, which is a name of its own only in nightly Rust. An expression of this type
/// can stand wherever any other type is expected, so `ctx.continue_as_new::<W>(next).await` can be the last expression of a
/// workflow.
pub type Never = <fn() -> ! as Returns>::Type;

/// Names the type that a function returns.
pub trait Returns {
    /// The type.
    type Type;
}

impl<T> Returns for fn() -> T {
    type Type = T;
}

/// A continuation, which is never ready: see [`Context::continue_as_new`](crate::Context::continue_as_new).
#[must_use = "a run goes on as before until the future is awaited"]
pub struct ContinueAsNew {
    scope: Rc<Scope>,
    source: Source,
    /// The workflow, and its input unless that faulted the run; `None` once it was polled.
    next: Option<(&'static str, Option<Payload>)>,
}

impl ContinueAsNew {
    pub(crate) fn new<W: Workflow>(scope: &Rc<Scope>, input: &W::Input, source: Source) -> Self {
        let what = fmt::from_fn(move |f| {
            write!(f, "the input with which workflow `{}` continues at {source}", W::NAME)
        });
        let input = scope.encode(&what, input);
        Self { scope: Rc::clone(scope), source, next: Some((W::NAME, input)) }
    }
}

impl Future for ContinueAsNew {
    type Output = Never;

    fn poll(mut self: Pin<&mut Self>, _task: &mut TaskContext<'_>) -> Poll<Never> {
        if let Some((workflow, Some(input))) = self.next.take() {
            self.scope.continue_as_new(workflow, input, self.source);
        }
        Poll::Pending
    }
}

impl FusedFuture for ContinueAsNew {
    fn is_terminated(&self) -> bool {
        false
    }
}

impl fmt::Debug for ContinueAsNew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContinueAsNew").field("source", &self.source).finish_non_exhaustive()
    }
}
