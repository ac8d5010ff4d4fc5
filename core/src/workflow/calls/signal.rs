//! `ctx.wait_for`: takes the next buffered signal of a name. It logs no event, since the signal's arrival is one.

use std::marker::PhantomData;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use serde::de::DeserializeOwned;

use super::future::{CallSite, DurableCall, DurableFuture, Opened};
use crate::data::name::Name;
use crate::workflow::command::Source;
use crate::workflow::error::WorkflowResult;
use crate::workflow::scope::Scope;
use crate::workflow::scope::arrivals::Kind;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::CallHandle;

/// A wait for a signal. A poll takes the signal only if the future is ready with it, so dropping the future loses none.
pub type SignalFuture<T> = DurableFuture<SignalCall<T>>;

/// The type that the signal's content is decoded as.
#[derive(Debug)]
pub struct SignalCall<T>(PhantomData<fn() -> T>);

impl<T> DurableFuture<SignalCall<T>> {
    pub(crate) fn signal(scope: &Rc<Scope>, signal: Name, source: Source) -> Self {
        Self::named(scope, "signal", signal, source, SignalCall(PhantomData))
    }
}

impl<T: DeserializeOwned> DurableCall for SignalCall<T> {
    type Output = WorkflowResult<T>;

    fn open(self, site: &CallSite) -> Option<Opened<Self::Output>> {
        if let Err(problem) = site.scope.may_wait_for(Kind::Signal, &site.label.name) {
            site.fault(problem);
            return None;
        }
        let kind = CallKind::Arrival(Kind::Signal, site.label.name.clone());
        Some(Opened::Waits(CallHandle::open(&site.scope, kind, site.source)))
    }

    fn value(site: &CallSite, resolution: Resolution) -> Option<Self::Output> {
        site.outcome("content", resolution)
    }

    fn poll(handle: &mut CallHandle, site: &CallSite, task: &mut TaskContext<'_>) -> Poll<Resolution> {
        handle.poll_arrival(Kind::Signal, &site.label.name, task)
    }
}
