//! `ctx.scope`: a part of a workflow that is cancelled by itself, at a deadline or by a handle. It has no command of its own
//! but a timer, and must not know what the code does.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use futures::future::{FusedFuture, LocalBoxFuture};

use super::scoped::Scoped;
use super::select::Arm;
use super::timeout::Durable;
use crate::data::time::Timestamp;
use crate::workflow::call_error::BranchError;
use crate::workflow::command::{Command, Source};
use crate::workflow::error::WorkflowError;
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::CallHandle;
use crate::workflow::scope::cancellation::CancelScope;

/// The stored type of the failure of a scope that was cancelled by its handle.
const SCOPE_CANCELLED: &str = "scope-cancelled";

/// A part of a workflow that can be cancelled by itself: see [`Context::scope`](crate::workflow::context::Context::scope).
#[must_use = "a scope does nothing until it is awaited"]
pub struct ScopeFuture<'a, T, E> {
    part: Rc<Part>,
    /// `None` once it is done.
    code: Option<LocalBoxFuture<'a, Result<T, E>>>,
    limit: Option<Duration>,
    timer: Option<CallHandle>,
    /// How many cancellations had reached the code around it when it began.
    cancellations: Option<usize>,
}

/// What a scope and its handles share.
struct Part {
    scope: Rc<Scope>,
    source: Source,
    of: Rc<CancelScope>,
    cancelled_by: Cell<Option<By>>,
    is_over: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Deadline,
    Handle,
}

impl Part {
    fn cancel(&self, by: By) -> bool {
        let cancels = !self.is_over.get() && self.scope.cancel_part(&self.of);
        if cancels {
            self.cancelled_by.set(Some(by));
        }
        cancels
    }
}

/// A handle that cancels a scope: see [`ScopeFuture::handle`].
#[derive(Clone)]
pub struct ScopeHandle(Rc<Part>);

impl ScopeHandle {
    /// Cancels everything that the code of the scope waits for and that is not shielded. If there is nothing, the next call
    /// that it makes is cancelled. Calls after that work normally, so that the code can clean up.
    ///
    /// Returns false, and does nothing, if the scope is over or was cancelled before. See the example of
    /// [`ScopeFuture::handle`].
    pub fn cancel(&self) -> bool {
        self.0.cancel(By::Handle)
    }
}

impl fmt::Debug for ScopeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeHandle(at {})", self.0.source)
    }
}

impl<'a, T, E: BranchError> ScopeFuture<'a, T, E> {
    pub(crate) fn new(
        scope: &Rc<Scope>,
        code: impl Future<Output = Result<T, E>> + 'a,
        source: Source,
    ) -> Self {
        let part = Part {
            scope: Rc::clone(scope),
            source,
            of: CancelScope::new(false),
            cancelled_by: Cell::new(None),
            is_over: Cell::new(false),
        };
        let code = Some(Box::pin(code) as LocalBoxFuture<'a, _>);
        Self { part: Rc::new(part), code, limit: None, timer: None, cancellations: None }
    }

    /// Cancels the scope when that time has passed since its first poll: everything that its code waits for and that is not
    /// shielded resolves to a cancellation, and the code may clean up before it returns. A
    /// [`timeout`](crate::workflow::Durable::timeout) drops the code instead. See
    /// [`Context::scope`](crate::workflow::context::Context::scope) for an example.
    ///
    /// # Errors
    /// The future returns an error of type `invalid-deadline` if the time is zero, or if its end is beyond the year 9999. A
    /// deadline that is set after the first poll stalls the run.
    #[track_caller]
    pub fn deadline(mut self, limit: Duration) -> Self {
        if self.cancellations.is_some() {
            let (at, source) = (Location::caller(), self.part.source);
            self.part.scope.fault(format!(
                "the deadline of the scope at {source} is set at {at}, after its first poll; set it before the future is \
                 polled"
            ));
        }
        self.limit = Some(limit);
        self
    }

    /// A handle that cancels the scope from elsewhere in the workflow. It may outlive the scope: then it does nothing.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # const STOP: Signal<()> = Signal::new("stop");
    /// # async fn workflow<Pack: Activity<Input = u32, Output = ()>>(ctx: Context) -> WorkflowResult<()> {
    /// let packing = ctx.scope(async { ctx.activity::<Pack>(7).await });
    /// let handle = packing.handle();
    /// let stop = async {
    ///     ctx.wait_for(STOP).await?;
    ///     handle.cancel();
    ///     Ok(())
    /// };
    /// let (packed, _) = ctx.when_all((async { Ok(packing.await) }, stop)).await?;
    /// match packed {
    ///     Err(error) if error.is("scope-cancelled") => Ok(()), // By the handle.
    ///     packed => packed,
    /// }
    /// # }
    /// ```
    pub fn handle(&self) -> ScopeHandle {
        ScopeHandle(Rc::clone(&self.part))
    }

    /// The deadline, if the scope has one that is still to be started.
    fn fire_at(&self) -> Result<Option<Timestamp>, E> {
        let Some(limit) = self.limit.filter(|_| self.timer.is_none()) else { return Ok(None) };
        let source = self.part.source;
        let refused = |problem: String| {
            let message = format!("the deadline of the scope at {source} is {problem}");
            Err(WorkflowError::new("invalid-deadline", message).into())
        };
        if limit.is_zero() {
            return refused("zero; give the time that it may take".to_owned());
        }
        match self.part.scope.now().checked_add(limit) {
            Some(fire_at) => Ok(Some(fire_at)),
            None => refused(format!(
                "{limit:?} from now, which is beyond {}, the last possible deadline",
                Timestamp::MAX_DEADLINE
            )),
        }
    }

    /// Starts the timer, which no cancellation ends: otherwise it would be in the place of a call of the code.
    fn start_timer(&mut self, fire_at: Timestamp) {
        let Part { scope, source, .. } = &*self.part;
        let handle = CallHandle::open(scope, CallKind::Timer(fire_at), source).outlives_cancellation();
        scope.issue(Command::StartTimer { id: handle.id(), fire_at }, source);
        self.timer = Some(handle);
    }

    /// The result of the code. If its own cancellation is the only one, the error says so, because the run goes on.
    fn result(&self, result: Result<T, E>) -> Result<T, E> {
        let by = self.part.cancelled_by.get();
        let others = self.cancellations.is_none_or(|before| self.part.scope.cancellations() > before);
        match (result, by) {
            (Err(error), Some(by)) if error.is_cancelled() && !others => Err(self.cancelled(by).into()),
            (result, _) => result,
        }
    }

    fn cancelled(&self, by: By) -> WorkflowError {
        let (source, limit) = (self.part.source, self.limit.unwrap_or_default());
        match by {
            By::Deadline => WorkflowError::timed_out(format!(
                "the scope at {source} was not done within its deadline of {limit:?}"
            )),
            By::Handle => WorkflowError::new(SCOPE_CANCELLED, format!("the scope at {source} was cancelled")),
        }
    }
}

impl<T, E> ScopeFuture<'_, T, E> {
    fn end(&mut self) {
        self.part.is_over.set(true);
        self.code = None;
        self.timer = None;
    }
}

impl<T, E: BranchError> Future for ScopeFuture<'_, T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.code.is_none() {
            return Poll::Pending;
        }
        let fire_at = match this.fire_at() {
            Ok(fire_at) => fire_at,
            Err(refused) => {
                this.end();
                return Poll::Ready(Err(refused));
            }
        };
        let part = Rc::clone(&this.part);
        this.cancellations.get_or_insert_with(|| part.scope.cancellations());
        if let Some(timer) = &mut this.timer
            && !timer.is_done()
            && let Poll::Ready(Resolution::Fired) = timer.poll(task)
        {
            part.cancel(By::Deadline);
        }
        let Some(code) = &mut this.code else { return Poll::Pending };
        let polled = part.scope.enclosed(&part.of, || code.as_mut().poll(task));
        if polled.is_pending()
            && let Some(fire_at) = fire_at
        {
            this.start_timer(fire_at);
            let timer = this.timer.as_mut().expect("it was just started");
            assert!(timer.poll(task).is_pending(), "a timer has not fired when it is started");
        }
        let result = this.result(ready!(polled));
        this.end();
        Poll::Ready(result)
    }
}

impl<T, E: BranchError> FusedFuture for ScopeFuture<'_, T, E> {
    fn is_terminated(&self) -> bool {
        self.code.is_none()
    }
}

impl<T, E> Scoped for ScopeFuture<'_, T, E> {
    fn scope(&self) -> &Rc<Scope> {
        &self.part.scope
    }

    fn subject(&self) -> String {
        format!("the scope at {}", self.part.source)
    }
}

impl<T, E: BranchError> Durable<T, E> for ScopeFuture<'_, T, E> {}
impl<T, E: BranchError> Arm for ScopeFuture<'_, T, E> {}

impl<T, E> Drop for ScopeFuture<'_, T, E> {
    fn drop(&mut self) {
        self.part.is_over.set(true);
    }
}

impl<T, E> fmt::Debug for ScopeFuture<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeFuture(at {})", self.part.source)
    }
}
