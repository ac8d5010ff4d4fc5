//! `.timeout(…)` on every fallible durable future: a race against a durable timer. It must not know which future.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::future::FusedFuture;

use super::future::{DurableCall, DurableFuture};
use super::scoped::Scoped;
use super::select::Arm;
use super::timer::{TimerCall, TimerFuture};
use crate::workflow::error::WorkflowError;
use crate::workflow::scope::Scope;

/// A durable future that can fail: those of activities, steps, timers and signals, of locks and permits, branches,
/// `when_all` and `for_each`, and each of these with a timeout. Its error `E` is a [`WorkflowError`], or a [`CallError`](crate::workflow::CallError) that
/// contains one.
#[expect(private_bounds, reason = "sealed: only this crate's futures are durable")]
pub trait Durable<T, E: From<WorkflowError> = WorkflowError>:
    FusedFuture<Output = Result<T, E>> + Scoped + Unpin + Sized
{
    /// Waits for at most `limit`, counted from the first poll. After that the future is dropped, which cancels everything
    /// that it waits for.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # const APPROVED: Signal<bool> = Signal::new("approved");
    /// # async fn workflow(ctx: Context) -> WorkflowResult<bool> {
    /// match ctx.wait_for(APPROVED).timeout(Duration::from_secs(24 * 3600)).await {
    ///     Err(error) if error.is_timeout() => Ok(false),
    ///     answer => answer,
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns the error of the future itself; an error whose [`WorkflowError::is_timeout`] is true, if the
    /// limit has passed; one of type `invalid-timeout`, if the limit is zero; and one of type `invalid-deadline`, if its
    /// end is beyond the year 9999.
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

impl<T, E: From<WorkflowError>, C: DurableCall<Output = Result<T, E>>> Durable<T, E> for DurableFuture<C> {}

impl<C: DurableCall> Arm for DurableFuture<C> {}

/// A durable future with a timeout.
#[derive(Debug)]
#[must_use = "the timeout starts when the future is awaited"]
pub struct Timeout<F> {
    scope: Rc<Scope>,
    race: Option<(F, TimerFuture)>,
    limit: Duration,
}

impl<T, E: From<WorkflowError>, F: Durable<T, E>> Future for Timeout<F>
where
    F: FusedFuture<Output = Result<T, E>>,
{
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let limit = self.limit;
        let Some((future, timer)) = &mut self.race else { return Poll::Pending };
        if limit.is_zero() {
            let message = format!("the timeout of {} is zero; give the time to wait", future.subject());
            self.race = None;
            return Poll::Ready(Err(WorkflowError::new("invalid-timeout", message).into()));
        }
        let result = match Pin::new(&mut *future).poll(task) {
            Poll::Ready(result) => result,
            Poll::Pending => match Pin::new(timer).poll(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {
                    let message = format!("{} did not complete within {limit:?}", future.subject());
                    Err(WorkflowError::timed_out(message).into())
                }
                Poll::Ready(Err(error)) => Err(error.into()),
            },
        };
        self.race = None;
        Poll::Ready(result)
    }
}

impl<T, E: From<WorkflowError>, F: Durable<T, E>> FusedFuture for Timeout<F>
where
    F: FusedFuture<Output = Result<T, E>>,
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
        self.race.as_ref().map_or_else(|| "a future that is done".to_owned(), |(future, _)| future.subject())
    }
}

impl<T, E: From<WorkflowError>, F: Durable<T, E>> Durable<T, E> for Timeout<F> where
    F: FusedFuture<Output = Result<T, E>>
{
}

impl<T, E: From<WorkflowError>, F: Durable<T, E>> Arm for Timeout<F> where
    F: FusedFuture<Output = Result<T, E>>
{
}

impl<F> Timeout<F> {
    /// The future and its timer, unless it is done or refuses to wait.
    pub(super) fn race_mut(&mut self) -> Option<&mut (F, TimerFuture)> {
        if self.limit.is_zero() { None } else { self.race.as_mut() }
    }
}
