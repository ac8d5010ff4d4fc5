//! `ctx.activity`: schedules an activity and waits for its outcome.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::future::FusedFuture;

use super::timeout::{Durable, Scoped};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::retry::RetryPolicy;
use crate::workflow::activity::Activity;
use crate::workflow::command::{Command, Source};
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::ticket::Ticket;

/// A call of an activity: scheduled when it is first polled, cancelled when it is dropped before its outcome.
#[must_use = "an activity is scheduled when its future is awaited"]
pub struct ActivityFuture<A: Activity> {
    scope: Rc<Scope>,
    source: Source,
    options: ActivityOptions,
    state: State<A::Input>,
    activity: PhantomData<fn() -> A>,
}

enum State<I> {
    New(Option<I>),
    Open(Ticket),
    Done,
}

impl<A: Activity> ActivityFuture<A> {
    pub(crate) fn new(scope: Rc<Scope>, input: A::Input, source: Source) -> Self {
        Self { scope, source, options: A::options(), state: State::New(Some(input)), activity: PhantomData }
    }

    /// Which failed attempts are followed by another; instead of the activity's own policy.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options = self.options.retry(policy);
        self
    }

    /// How long one attempt may take: then its token is cancelled and it fails, retryably.
    pub fn start_to_close(mut self, limit: Duration) -> Self {
        self.options = self.options.start_to_close(limit);
        self
    }

    /// How long all attempts and the delays between them may take: then the activity fails.
    pub fn schedule_to_close(mut self, limit: Duration) -> Self {
        self.options = self.options.schedule_to_close(limit);
        self
    }

    /// Executes the activity at most once: see [`ActivityOptions::at_most_once`].
    pub fn at_most_once(mut self) -> Self {
        self.options = self.options.at_most_once();
        self
    }

    /// Schedules the activity; `None` if that was impossible.
    fn schedule(&mut self, input: A::Input) -> Option<Ticket> {
        if let Err(problem) = self.options.check() {
            self.scope.fault(format!("activity `{}` at {}: {problem}", A::NAME, self.source));
            return None;
        }
        let input = self.scope.encode(&format_args!("the input of activity `{}`", A::NAME), &input)?;
        let activity = Name::from_static(A::NAME);
        let ticket = self.scope.open(CallKind::Activity(activity.clone()), self.source);
        let options = std::mem::take(&mut self.options);
        let command = Command::ScheduleActivity { id: ticket.id(), activity, input, options };
        self.scope.issue(command, self.source);
        Some(ticket)
    }
}

impl<A: Activity> Unpin for ActivityFuture<A> {}

impl<A: Activity> Future for ActivityFuture<A> {
    type Output = WorkflowResult<A::Output>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let State::New(input) = &mut self.state {
            let input = input.take();
            match input.and_then(|input| self.schedule(input)) {
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
                    self.scope.decode(&format_args!("the result of activity `{}`", A::NAME), &payload);
                decoded.map_or(Poll::Pending, |value| Poll::Ready(Ok(value)))
            }
            Resolution::Failed(failure) => {
                Poll::Ready(Err(WorkflowError::call_failed("activity", A::NAME, *failure)))
            }
            Resolution::Cancelled | Resolution::Fired => Poll::Ready(Err(WorkflowError::cancelled())),
        }
    }
}

impl<A: Activity> FusedFuture for ActivityFuture<A> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl<A: Activity> Scoped for ActivityFuture<A> {
    fn scope(&self) -> &Rc<Scope> {
        &self.scope
    }

    fn subject(&self) -> String {
        format!("activity `{}`", A::NAME)
    }
}

impl<A: Activity> Durable<A::Output> for ActivityFuture<A> {}

impl<A: Activity> fmt::Debug for ActivityFuture<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActivityFuture({:?} at {})", A::NAME, self.source)
    }
}
