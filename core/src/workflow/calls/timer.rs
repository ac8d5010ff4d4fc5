//! `ctx.sleep` and `ctx.sleep_until`: a deadline that outlives the process.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::future::FusedFuture;

use super::timeout::{Durable, Scoped};
use crate::data::time::Timestamp;
use crate::workflow::command::{Command, Source};
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::ticket::Ticket;

/// A durable timer: started when it is first polled, cancelled when it is dropped before it fires.
#[derive(Debug)]
#[must_use = "a timer starts when its future is awaited"]
pub struct TimerFuture {
    scope: Rc<Scope>,
    source: Source,
    state: State,
}

#[derive(Debug)]
enum State {
    After(Duration),
    At(Timestamp),
    Open(Ticket),
    Done,
}

impl TimerFuture {
    pub(crate) fn after(scope: Rc<Scope>, delay: Duration, source: Source) -> Self {
        Self { scope, source, state: State::After(delay) }
    }

    pub(crate) fn at(scope: Rc<Scope>, time: Timestamp, source: Source) -> Self {
        Self { scope, source, state: State::At(time) }
    }

    fn start(&mut self, fire_at: Timestamp) {
        let ticket = self.scope.open(CallKind::Timer(fire_at), self.source);
        self.scope.issue(Command::StartTimer { id: ticket.id(), fire_at }, self.source);
        self.state = State::Open(ticket);
    }

    /// A deadline that no store can hold is the caller's error, and the workflow may handle it.
    fn refuse(&mut self, what: String) -> Poll<WorkflowResult<()>> {
        self.state = State::Done;
        let message = format!("{what} is beyond {}, the last deadline there is", Timestamp::MAX_DEADLINE);
        Poll::Ready(Err(WorkflowError::new("invalid-deadline", message)))
    }
}

impl Future for TimerFuture {
    type Output = WorkflowResult<()>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match self.state {
            State::After(delay) => match self.scope.now().checked_add(delay) {
                Some(fire_at) => self.start(fire_at),
                None => return self.refuse(format!("a timer of {delay:?}")),
            },
            State::At(time) if time > Timestamp::MAX_DEADLINE => {
                return self.refuse(format!("a timer until {time}"));
            }
            // A deadline long past need not be one that every store can hold.
            State::At(time) => {
                let now = self.scope.now();
                self.start(time.max(now));
            }
            State::Open(_) | State::Done => {}
        }
        let State::Open(ticket) = &mut self.state else { return Poll::Pending };
        let Poll::Ready(resolution) = ticket.poll(task) else { return Poll::Pending };
        self.state = State::Done;
        match resolution {
            Resolution::Fired => Poll::Ready(Ok(())),
            Resolution::Cancelled | Resolution::Value(_) | Resolution::Failed(_) => {
                Poll::Ready(Err(WorkflowError::cancelled()))
            }
        }
    }
}

impl FusedFuture for TimerFuture {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl Scoped for TimerFuture {
    fn scope(&self) -> &Rc<Scope> {
        &self.scope
    }

    fn subject(&self) -> String {
        "the timer".to_owned()
    }
}

impl Durable<()> for TimerFuture {}
