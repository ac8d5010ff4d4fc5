//! `ctx.wait_for`: takes the next buffered signal of a name. It leaves no event: the signal's arrival has one.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use futures::future::FusedFuture;
use serde::de::DeserializeOwned;

use super::timeout::{Durable, Scoped};
use crate::data::name::Name;
use crate::workflow::command::Source;
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::ticket::Ticket;
use crate::workflow::signal::Signal;

/// A wait for a signal. The signal is taken when this future is polled, so dropping it loses none.
#[must_use = "a signal is waited for when the future is awaited"]
pub struct SignalFuture<T> {
    scope: Rc<Scope>,
    source: Source,
    name: &'static str,
    state: State,
    content: PhantomData<fn() -> T>,
}

enum State {
    New,
    Open(Ticket),
    Done,
}

impl<T> SignalFuture<T> {
    pub(crate) fn new(scope: Rc<Scope>, signal: Signal<T>, source: Source) -> Self {
        Self { scope, source, name: signal.name(), state: State::New, content: PhantomData }
    }
}

impl<T> Unpin for SignalFuture<T> {}

impl<T: DeserializeOwned> Future for SignalFuture<T> {
    type Output = WorkflowResult<T>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let State::New = self.state {
            let kind = CallKind::Signal(Name::from_static(self.name));
            self.state = State::Open(self.scope.open(kind, self.source));
        }
        let name = self.name;
        let State::Open(ticket) = &mut self.state else { return Poll::Pending };
        let Poll::Ready(resolution) = ticket.poll_signal(&Name::from_static(name), task) else {
            return Poll::Pending;
        };
        self.state = State::Done;
        match resolution {
            Resolution::Value(payload) => {
                let decoded = self.scope.decode(&format_args!("the content of signal `{name}`"), &payload);
                decoded.map_or(Poll::Pending, |value| Poll::Ready(Ok(value)))
            }
            Resolution::Cancelled | Resolution::Fired | Resolution::Failed(_) => {
                Poll::Ready(Err(WorkflowError::cancelled()))
            }
        }
    }
}

impl<T: DeserializeOwned> FusedFuture for SignalFuture<T> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl<T> Scoped for SignalFuture<T> {
    fn scope(&self) -> &Rc<Scope> {
        &self.scope
    }

    fn subject(&self) -> String {
        format!("signal `{}`", self.name)
    }
}

impl<T: DeserializeOwned> Durable<T> for SignalFuture<T> {}

impl<T> fmt::Debug for SignalFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignalFuture({:?} at {})", self.name, self.source)
    }
}
