//! The future of every durable call. A call says what it asks for, and what its resolution means; when that happens is
//! the same for all, and said here. It must not know which calls there are.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use futures::future::FusedFuture;
use serde::de::DeserializeOwned;

use crate::workflow::command::Source;
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::Resolution;
use crate::workflow::scope::call_handle::Ticket;

/// A durable call, made when this future is first polled. Dropping the future before it is ready gives the call up.
///
/// Its methods set options of the call. An option that is set after the first poll comes too late, and stalls the run.
#[must_use = "a durable call is made when its future is awaited"]
pub struct DurableFuture<C> {
    site: Site,
    state: State<C>,
}

enum State<C> {
    New(C),
    Open(Ticket),
    /// The run stalls at the end of this poll: the future is never ready, and does not count as terminated.
    Faulted,
    Done,
}

/// A durable call of the workflow's code. Dropping it means what the `CallKind` says under which it was opened.
pub(crate) trait Call: Sized {
    /// What its future is ready with.
    type Output;

    /// Asks for what the call is about; `None` after a fault of the run.
    fn open(self, site: &Site) -> Option<Opened<Self::Output>>;

    /// What its resolution means to the code; `None` after a fault of the run.
    fn value(site: &Site, resolution: Resolution) -> Option<Self::Output>;

    /// Whether it is resolved.
    fn poll(ticket: &mut Ticket, _site: &Site, task: &mut TaskContext<'_>) -> Poll<Resolution> {
        ticket.poll(task)
    }
}

/// What became of a call when it was made.
pub(crate) enum Opened<T> {
    /// It waits for its resolution.
    Waits(Ticket),
    /// There is nothing to wait for.
    Ready(T),
}

/// Which call it is, and where it stands in the code.
pub(crate) struct Site {
    pub(crate) scope: Rc<Scope>,
    pub(crate) source: Source,
    pub(crate) label: Label,
}

/// A call in words, such as "activity `charge`".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub(crate) noun: &'static str,
    /// Empty where calls of that kind have no name.
    pub(crate) name: &'static str,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            return f.write_str(self.noun);
        }
        write!(f, "{} `{}`", self.noun, self.name)
    }
}

impl Site {
    /// Stalls the run for what is wrong with this call.
    pub(crate) fn fault(&self, problem: impl fmt::Display) {
        self.scope.fault(format!("{} at {}: {problem}", self.label, self.source));
    }

    /// What a call means that comes back with a value of the user's, its `part`, or with a failure.
    pub(crate) fn outcome<T: DeserializeOwned>(
        &self,
        part: &str,
        resolution: Resolution,
    ) -> Option<WorkflowResult<T>> {
        Some(match resolution {
            Resolution::Value(payload) => {
                Ok(self.scope.decode(&format_args!("the {part} of {}", self.label), &payload)?)
            }
            Resolution::Failed(failure) => {
                Err(WorkflowError::call_failed(self.label.noun, self.label.name, *failure))
            }
            Resolution::Cancelled | Resolution::Fired => Err(WorkflowError::cancelled()),
        })
    }
}

impl<C> DurableFuture<C> {
    pub(crate) fn new(
        scope: &Rc<Scope>,
        noun: &'static str,
        name: &'static str,
        source: Source,
        call: C,
    ) -> Self {
        let site = Site { scope: Rc::clone(scope), source, label: Label { noun, name } };
        Self { site, state: State::New(call) }
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Sets an option of the call before it is made.
    #[track_caller]
    pub(crate) fn set(mut self, change: impl FnOnce(&mut C)) -> Self {
        if let State::New(call) = &mut self.state {
            change(call);
        } else {
            self.site.fault(format_args!(
                "an option is set at {}, after its first poll; set all options before the future is polled",
                Location::caller()
            ));
        }
        self
    }
}

/// Nothing in it is pinned: a call is moved out when it is made.
impl<C> Unpin for DurableFuture<C> {}

impl<T, C: Call<Output = T>> Future for DurableFuture<C> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<T> {
        let Self { site, state } = &mut *self;
        if let State::New(_) = state
            && let State::New(call) = std::mem::replace(state, State::Faulted)
        {
            match call.open(site) {
                Some(Opened::Waits(ticket)) => *state = State::Open(ticket),
                Some(Opened::Ready(output)) => {
                    *state = State::Done;
                    return Poll::Ready(output);
                }
                None => {}
            }
        }
        let State::Open(ticket) = state else { return Poll::Pending };
        let Poll::Ready(resolution) = C::poll(ticket, site, task) else { return Poll::Pending };
        let value = C::value(site, resolution);
        *state = if value.is_some() { State::Done } else { State::Faulted };
        value.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<C: Call> FusedFuture for DurableFuture<C> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl<C> fmt::Debug for DurableFuture<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableFuture({} at {})", self.site.label, self.site.source)
    }
}
