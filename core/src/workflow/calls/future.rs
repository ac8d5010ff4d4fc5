//! The future of every durable call. Each call defines what it asks for and what its resolution means; this file defines
//! when that happens, which is the same for all. It must not know which calls there are.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use futures::future::FusedFuture;
use serde::de::DeserializeOwned;

use crate::data::name::Name;
use crate::workflow::command::Source;
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::Resolution;
use crate::workflow::scope::call_handle::CallHandle;

/// A durable call, made at the first poll of this future. Dropping the future before it is ready cancels the call.
///
/// Its methods set options of the call. An option that is set after the first poll stalls the run.
#[must_use = "a durable call is made when its future is awaited"]
pub struct DurableFuture<C> {
    site: CallSite,
    state: State<C>,
}

enum State<C> {
    New(C),
    Open(CallHandle),
    /// It was cancelled before it was made.
    Refused,
    /// The run stalls at the end of this poll: the future is never ready, and does not count as terminated.
    Faulted,
    Done,
}

/// A durable call of the workflow's code. Its `CallKind` defines what dropping it does.
pub(crate) trait DurableCall: Sized {
    /// The output of its future.
    type Output;

    /// Makes the call; `None` after a fault of the run.
    fn open(self, site: &CallSite) -> Option<Opened<Self::Output>>;

    /// Whether it would be ready at its first poll, so that there is nothing to make before.
    fn is_immediate(&self, _site: &CallSite) -> bool {
        false
    }

    /// Whether no cancellation ends it.
    fn is_shielded(&self) -> bool {
        false
    }

    /// Converts its resolution into the output; `None` after a fault of the run.
    fn value(site: &CallSite, resolution: Resolution) -> Option<Self::Output>;

    /// Returns its resolution if it is resolved.
    fn poll(handle: &mut CallHandle, _site: &CallSite, task: &mut TaskContext<'_>) -> Poll<Resolution> {
        handle.poll(task)
    }
}

/// The state of a call after it was made.
pub(crate) enum Opened<T> {
    /// It waits for its resolution.
    Waits(CallHandle),
    /// There is nothing to wait for.
    Ready(T),
}

/// A call's name and its place in the code.
pub(crate) struct CallSite {
    pub(crate) scope: Rc<Scope>,
    pub(crate) source: Source,
    pub(crate) label: Label,
}

/// A call in words, such as "activity `charge`".
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) noun: &'static str,
    /// Empty for kinds of calls that have no name.
    pub(crate) name: Name,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            return f.write_str(self.noun);
        }
        write!(f, "{} `{}`", self.noun, self.name)
    }
}

impl CallSite {
    /// Stalls the run because of a problem with this call.
    pub(crate) fn fault(&self, problem: impl fmt::Display) {
        self.scope.fault(format!("{} at {}: {problem}", self.label, self.source));
    }

    /// Converts the resolution of a call that returns a value of the user's, named `part`, or a failure.
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
                Err(WorkflowError::call_failed(self.label.noun, &self.label.name, *failure))
            }
            Resolution::Cancelled | Resolution::Fired | Resolution::Asked(_) | Resolution::Compensated(_) => {
                Err(WorkflowError::cancelled())
            }
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
        Self::named(scope, noun, Name::from_static(name), source, call)
    }

    /// The same, with a name that may be made at run time.
    pub(crate) fn named(scope: &Rc<Scope>, noun: &'static str, name: Name, source: Source, call: C) -> Self {
        let site = CallSite { scope: Rc::clone(scope), source, label: Label { noun, name } };
        Self { site, state: State::New(call) }
    }

    /// The future of a call that was made before.
    pub(crate) fn of_open(site: CallSite, handle: CallHandle) -> Self {
        Self { site, state: State::Open(handle) }
    }

    /// Ends the future without cancelling its call: returns the handle of the call, if it was made and is not over.
    pub(crate) fn into_handle(self) -> Option<CallHandle> {
        match self.state {
            State::Open(handle) => Some(handle),
            State::New(_) | State::Refused | State::Faulted | State::Done => None,
        }
    }

    /// Whether it was cancelled before it was made.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused)
    }

    pub(crate) fn site(&self) -> &CallSite {
        &self.site
    }

    /// The handle of the call, after it was made and before it is over.
    pub(crate) fn handle(&self) -> Option<&CallHandle> {
        match &self.state {
            State::Open(handle) => Some(handle),
            State::New(_) | State::Refused | State::Faulted | State::Done => None,
        }
    }

    /// The same future of another call, which resolves in another way.
    pub(crate) fn map<D>(self, change: impl FnOnce(C) -> D) -> DurableFuture<D> {
        let Self { site, state } = self;
        let state = match state {
            State::New(call) => State::New(change(call)),
            State::Open(handle) => State::Open(handle),
            State::Refused => State::Refused,
            State::Faulted => State::Faulted,
            State::Done => State::Done,
        };
        DurableFuture { site, state }
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

#[expect(private_bounds, reason = "sealed, and its methods are of this crate")]
impl<C: DurableCall> DurableFuture<C> {
    /// Makes the call, if it was not made before. Returns its output if there is nothing to wait for.
    fn open(&mut self) -> Option<C::Output> {
        let State::New(call) = &self.state else { return None };
        // A call that would be ready at once waits for nothing.
        if !call.is_shielded() && !call.is_immediate(&self.site) && self.site.scope.take_latched() {
            self.state = State::Refused;
            return None;
        }
        let State::New(call) = std::mem::replace(&mut self.state, State::Faulted) else { return None };
        match call.open(&self.site)? {
            Opened::Waits(handle) => {
                self.state = State::Open(handle);
                None
            }
            Opened::Ready(output) => {
                self.state = State::Done;
                Some(output)
            }
        }
    }

    /// Makes the call before the first poll, unless it would be ready then.
    pub(crate) fn open_now(&mut self) {
        if let State::New(call) = &self.state
            && !call.is_immediate(&self.site)
        {
            let output = self.open();
            assert!(output.is_none(), "a call that is not immediate waits for something");
        }
    }
}

/// No field is pinned: the call is moved out when it is made.
impl<C> Unpin for DurableFuture<C> {}

impl<T, C: DurableCall<Output = T>> Future for DurableFuture<C> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<T> {
        if let Some(output) = self.open() {
            return Poll::Ready(output);
        }
        let Self { site, state } = &mut *self;
        let resolution = match state {
            State::Open(handle) => ready!(C::poll(handle, site, task)),
            State::Refused => Resolution::Cancelled,
            State::New(_) | State::Faulted | State::Done => return Poll::Pending,
        };
        let value = C::value(site, resolution);
        *state = if value.is_some() { State::Done } else { State::Faulted };
        value.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<C: DurableCall> FusedFuture for DurableFuture<C> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl<C> fmt::Debug for DurableFuture<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableFuture({} at {})", self.site.label, self.site.source)
    }
}
