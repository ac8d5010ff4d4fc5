//! `ctx.semaphore`: permits that the branches of a run share. Nothing of it is logged. It must not know what the permits
//! are for.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use futures::future::FusedFuture;

use super::scoped::Scoped;
use super::select::Arm;
use super::timeout::Durable;
use crate::workflow::command::Source;
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::CallHandle;
use crate::workflow::scope::permits::Permits;

/// A number of permits that the branches of a run share: see
/// [`Context::semaphore`](crate::workflow::context::Context::semaphore).
pub struct Semaphore {
    scope: Rc<Scope>,
    permits: Rc<Permits>,
}

impl Semaphore {
    pub(crate) fn new(scope: &Rc<Scope>, noun: &'static str, name: &'static str, permits: usize) -> Self {
        Self { scope: Rc::clone(scope), permits: Rc::new(Permits::new(noun, name, permits)) }
    }

    /// Waits for a permit, which is returned when it is dropped. Whoever waits longest gets the next one.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Render: Activity<Input = u32, Output = ()>>(ctx: Context) -> WorkflowResult<()> {
    /// let gpus = ctx.semaphore("gpus", 2);
    /// let render = async |frame: u32| {
    ///     let _gpu = gpus.acquire().await?;
    ///     ctx.activity::<Render>(frame).await
    /// };
    /// ctx.when_all((render(1), render(2), render(3))).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns an error if the run is cancelled while it waits. The run stalls if nothing but permits is
    /// waited for, because none of them can be returned any more.
    #[track_caller]
    pub fn acquire(&self) -> AcquireFuture<'_> {
        AcquireFuture { semaphore: self, source: Location::caller(), state: State::New }
    }

    /// Passes a permit on.
    fn pass_on(&self) {
        self.permits.pass_on(|call| self.scope.grant(call));
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Semaphore({})", self.permits)
    }
}

/// A permit of a [`Semaphore`], returned when it is dropped. See the example of [`Semaphore::acquire`].
#[must_use = "a permit is returned when it is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    ticket: u64,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.permits.return_ticket(self.ticket);
        self.semaphore.pass_on();
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.semaphore.permits)
    }
}

/// A wait for a permit: see [`Semaphore::acquire`].
#[must_use = "a permit is taken when the future is awaited"]
pub struct AcquireFuture<'a> {
    semaphore: &'a Semaphore,
    source: Source,
    state: State,
}

enum State {
    New,
    Waiting(CallHandle),
    Done,
}

impl AcquireFuture<'_> {
    /// Waits for a permit, because none is free.
    fn wait(&self) -> CallHandle {
        let Semaphore { scope, permits } = self.semaphore;
        let handle = CallHandle::open(scope, CallKind::Permit(Rc::clone(permits)), self.source);
        permits.wait(handle.id());
        handle
    }
}

impl<'a> Future for AcquireFuture<'a> {
    type Output = WorkflowResult<Permit<'a>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let (semaphore, source) = (self.semaphore, self.source);
        if matches!(self.state, State::New) {
            if let Some(ticket) = semaphore.permits.take(source) {
                self.state = State::Done;
                return Poll::Ready(Ok(Permit { semaphore, ticket }));
            }
            if semaphore.scope.take_latched() {
                self.state = State::Done;
                return Poll::Ready(Err(WorkflowError::cancelled()));
            }
            self.state = State::Waiting(self.wait());
        }
        let State::Waiting(handle) = &mut self.state else { return Poll::Pending };
        let resolution = ready!(handle.poll(task));
        let call = handle.id();
        self.state = State::Done;
        Poll::Ready(match resolution {
            Resolution::Fired => Ok(Permit { semaphore, ticket: semaphore.permits.take_granted(source) }),
            Resolution::Cancelled
            | Resolution::Value(_)
            | Resolution::Failed(_)
            | Resolution::Asked(_)
            | Resolution::Compensated(_) => {
                semaphore.permits.forget(call);
                Err(WorkflowError::cancelled())
            }
        })
    }
}

impl Drop for AcquireFuture<'_> {
    fn drop(&mut self) {
        let State::Waiting(handle) = &self.state else { return };
        if handle.is_fired() {
            // The permit was granted, and nobody will take it.
            self.semaphore.pass_on();
        } else {
            self.semaphore.permits.forget(handle.id());
        }
    }
}

impl FusedFuture for AcquireFuture<'_> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl Scoped for AcquireFuture<'_> {
    fn scope(&self) -> &Rc<Scope> {
        &self.semaphore.scope
    }

    fn subject(&self) -> String {
        format!("the wait for {}", self.semaphore.permits)
    }
}

impl<'a> Durable<Permit<'a>> for AcquireFuture<'a> {}
impl Arm for AcquireFuture<'_> {}

impl fmt::Debug for AcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AcquireFuture({} at {})", self.semaphore.permits, self.source)
    }
}
