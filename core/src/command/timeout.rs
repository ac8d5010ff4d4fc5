//! `.timeout(…)` on every durable future: a race against a durable timer.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::future::FusedFuture;

use super::TimerFuture;
use crate::run::Scope;
use crate::workflow::{WorkflowError, WorkflowResult};

/// What every durable future can tell the futures built on it. Sealed: only this crate's futures are durable.
pub(crate) trait Scoped {
    fn scope(&self) -> &Rc<Scope>;
    fn subject(&self) -> String;
}

/// What all durable futures have in common.
pub trait Durable<T>: FusedFuture<Output = WorkflowResult<T>> + Unpin + Sized {
    /// Waits for at most `limit`: then the future is dropped, which cancels what it waits for, and the result
    /// is an error whose [`WorkflowError::is_timeout`] is true.
    #[track_caller]
    fn timeout(self, limit: Duration) -> Timeout<Self>;
}

impl<T, F> Durable<T> for F
where
    F: FusedFuture<Output = WorkflowResult<T>> + Unpin + Scoped,
{
    #[track_caller]
    fn timeout(self, limit: Duration) -> Timeout<Self> {
        let timer = TimerFuture::after(Rc::clone(self.scope()), limit, Location::caller());
        Timeout { race: Some((self, timer)), limit }
    }
}

/// A durable future with a time limit.
#[derive(Debug)]
#[must_use = "the limit begins when the future is awaited"]
pub struct Timeout<F> {
    race: Option<(F, TimerFuture)>,
    limit: Duration,
}

impl<T, F> Future for Timeout<F>
where
    F: FusedFuture<Output = WorkflowResult<T>> + Unpin + Scoped,
{
    type Output = WorkflowResult<T>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let limit = self.limit;
        let Some((future, timer)) = &mut self.race else { return Poll::Pending };
        if limit.is_zero() {
            let message = format!("the timeout of {} is zero; give the time to wait", future.subject());
            self.race = None;
            return Poll::Ready(Err(WorkflowError::new("invalid-timeout", message)));
        }
        let result = match Pin::new(&mut *future).poll(task) {
            Poll::Ready(result) => result,
            Poll::Pending => match Pin::new(timer).poll(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => Err(WorkflowError::timed_out(format!(
                    "{} did not come within {limit:?}",
                    future.subject()
                ))),
                Poll::Ready(Err(error)) => Err(error),
            },
        };
        self.race = None;
        Poll::Ready(result)
    }
}

impl<T, F> FusedFuture for Timeout<F>
where
    F: FusedFuture<Output = WorkflowResult<T>> + Unpin + Scoped,
{
    fn is_terminated(&self) -> bool {
        self.race.is_none()
    }
}
