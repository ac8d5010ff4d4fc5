//! `ctx.step`: an inline activity. Only its outcome is logged; it is executed by the worker, never inside of
//! the program, and not before everything that led to it is committed.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use futures::future::{BoxFuture, FusedFuture};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::timeout::{Durable, Scoped};
use crate::data::failure::Failure;
use crate::data::id::CommandId;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::retry::RetryPolicy;
use crate::guard::Guarded;
use crate::workflow::command::Source;
use crate::workflow::error::{ActivityResult, WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::ticket::Ticket;

/// Makes one attempt of a step.
pub(crate) type StepTask = Box<dyn FnMut() -> BoxFuture<'static, Result<Payload, Failure>> + Send>;

/// A step that the run asks its worker to execute.
pub(crate) struct StepRequest {
    pub(crate) id: CommandId,
    pub(crate) name: Name,
    pub(crate) source: Source,
    pub(crate) retry: RetryPolicy,
    pub(crate) task: Guarded<StepTask>,
}

impl fmt::Debug for StepRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepRequest({} {:?})", self.id, self.name)
    }
}

/// An inline activity: asked for when it is first polled, given up when it is dropped before its outcome.
#[must_use = "a step is executed when its future is awaited"]
pub struct StepFuture<T, F> {
    scope: Rc<Scope>,
    source: Source,
    name: &'static str,
    retry: RetryPolicy,
    state: State<F>,
    output: PhantomData<fn() -> T>,
}

enum State<F> {
    New(Option<F>),
    Open(Ticket),
    Done,
}

impl<T, F> StepFuture<T, F> {
    pub(crate) fn new(scope: Rc<Scope>, name: &'static str, make: F, source: Source) -> Self {
        let state = State::New(Some(make));
        Self { scope, source, name, retry: RetryPolicy::none(), state, output: PhantomData }
    }

    /// Which failed attempts are followed by another. Attempts of a step are counted in memory: a crash
    /// begins again with the first.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }
}

impl<T, F, Fut> StepFuture<T, F>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = ActivityResult<T>> + Send + 'static,
{
    fn request(&mut self, mut make: F) -> Option<Ticket> {
        let retry = std::mem::take(&mut self.retry);
        if let Err(problem) = retry.check() {
            self.scope.fault(format!("step `{}` at {}: {problem}", self.name, self.source));
            return None;
        }
        let name = Name::from_static(self.name);
        let ticket = self.scope.open(CallKind::Step(name.clone()), self.source);
        let task: StepTask = Box::new(move || {
            let attempt = make();
            Box::pin(async move {
                let value = attempt.await.map_err(crate::workflow::error::ActivityError::into_failure)?;
                Payload::encode_readable(&value).map_err(|error| Failure::from_error(&error).non_retryable())
            })
        });
        let task = Guarded::new(task);
        self.scope.request_step(StepRequest { id: ticket.id(), name, source: self.source, retry, task });
        Some(ticket)
    }
}

impl<T, F> Unpin for StepFuture<T, F> {}

impl<T, F, Fut> Future for StepFuture<T, F>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = ActivityResult<T>> + Send + 'static,
{
    type Output = WorkflowResult<T>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let State::New(make) = &mut self.state {
            let make = make.take();
            match make.and_then(|make| self.request(make)) {
                Some(ticket) => self.state = State::Open(ticket),
                // The fault stalls the run: this future is never polled again.
                None => return Poll::Pending,
            }
        }
        let State::Open(ticket) = &mut self.state else { return Poll::Pending };
        let Poll::Ready(resolution) = ticket.poll(task) else { return Poll::Pending };
        self.state = State::Done;
        match resolution {
            Resolution::Value(payload) => {
                let decoded =
                    self.scope.decode(&format_args!("the result of step `{}`", self.name), &payload);
                decoded.map_or(Poll::Pending, |value| Poll::Ready(Ok(value)))
            }
            Resolution::Failed(failure) => {
                Poll::Ready(Err(WorkflowError::call_failed("step", self.name, *failure)))
            }
            Resolution::Cancelled | Resolution::Fired => Poll::Ready(Err(WorkflowError::cancelled())),
        }
    }
}

impl<T, F, Fut> FusedFuture for StepFuture<T, F>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = ActivityResult<T>> + Send + 'static,
{
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl<T, F> Scoped for StepFuture<T, F> {
    fn scope(&self) -> &Rc<Scope> {
        &self.scope
    }

    fn subject(&self) -> String {
        format!("step `{}`", self.name)
    }
}

impl<T, F, Fut> Durable<T> for StepFuture<T, F>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = ActivityResult<T>> + Send + 'static,
{
}

impl<T, F> fmt::Debug for StepFuture<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepFuture({:?} at {})", self.name, self.source)
    }
}
