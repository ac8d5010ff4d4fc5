//! `.timeout(…)` on every durable future: a race against a durable timer.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::future::FusedFuture;

use super::future::{Call, DurableFuture};
use super::timer::{TimerCall, TimerFuture};
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;

/// What every durable future can tell the futures built on it.
pub(crate) trait Scoped {
    fn scope(&self) -> &Rc<Scope>;
    fn subject(&self) -> String;
}

/// What all durable futures have in common: those of activities, steps, timers and signals, `when_all` of them, and
/// each of these with a time limit.
#[expect(private_bounds, reason = "sealed: only this crate's futures are durable")]
pub trait Durable<T>: FusedFuture<Output = WorkflowResult<T>> + Scoped + Unpin + Sized {
    /// Waits for at most `limit`: then the future is dropped, which cancels all that it waits for, and the result
    /// is an error whose [`WorkflowError::is_timeout`] is true.
    #[track_caller]
    fn timeout(self, limit: Duration) -> Timeout<Self> {
        let scope = Rc::clone(self.scope());
        let timer = TimerFuture::timer(&scope, TimerCall::After(limit), Location::caller());
        Timeout { scope, race: Some((self, timer)), limit }
    }
}

impl<C> Scoped for DurableFuture<C> {
    fn scope(&self) -> &Rc<Scope> {
        &self.site().scope
    }

    fn subject(&self) -> String {
        self.site().label.to_string()
    }
}

impl<T, C: Call<Output = WorkflowResult<T>>> Durable<T> for DurableFuture<C> {}

/// A durable future with a time limit.
#[derive(Debug)]
#[must_use = "the limit begins when the future is awaited"]
pub struct Timeout<F> {
    scope: Rc<Scope>,
    race: Option<(F, TimerFuture)>,
    limit: Duration,
}

impl<T, F> Future for Timeout<F>
where
    F: FusedFuture<Output = WorkflowResult<T>> + Durable<T>,
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
    F: FusedFuture<Output = WorkflowResult<T>> + Durable<T>,
{
    fn is_terminated(&self) -> bool {
        self.race.is_none()
    }
}

impl<F: Scoped> Scoped for Timeout<F> {
    fn scope(&self) -> &Rc<Scope> {
        &self.scope
    }

    fn subject(&self) -> String {
        self.race.as_ref().map_or_else(|| "what is over".to_owned(), |(future, _)| future.subject())
    }
}

impl<T, F> Durable<T> for Timeout<F> where F: FusedFuture<Output = WorkflowResult<T>> + Durable<T> {}
