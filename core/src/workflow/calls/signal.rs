//! `ctx.wait_for`: takes the next buffered signal of a name. It leaves no event: the signal's arrival has one.

use std::marker::PhantomData;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use serde::de::DeserializeOwned;

use super::future::{Call, DurableFuture, Opened, Site};
use crate::data::name::Name;
use crate::workflow::command::Source;
use crate::workflow::error::WorkflowResult;
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::Ticket;
use crate::workflow::signal::Signal;

/// A wait for a signal. The signal is taken when this future is polled, so dropping it loses none.
pub type SignalFuture<T> = DurableFuture<SignalCall<T>>;

/// What the signal is read as.
#[derive(Debug)]
pub struct SignalCall<T>(PhantomData<fn() -> T>);

impl<T> DurableFuture<SignalCall<T>> {
    pub(crate) fn signal(scope: &Rc<Scope>, signal: Signal<T>, source: Source) -> Self {
        Self::new(scope, "signal", signal.name(), source, SignalCall(PhantomData))
    }
}

impl<T: DeserializeOwned> Call for SignalCall<T> {
    type Output = WorkflowResult<T>;

    fn open(self, site: &Site) -> Option<Opened<Self::Output>> {
        let kind = CallKind::Signal(Name::from_static(site.label.name));
        Some(Opened::Waits(Ticket::open(&site.scope, kind, site.source)))
    }

    fn value(site: &Site, resolution: Resolution) -> Option<Self::Output> {
        site.outcome("content", resolution)
    }

    fn poll(ticket: &mut Ticket, site: &Site, task: &mut TaskContext<'_>) -> Poll<Resolution> {
        ticket.poll_signal(&Name::from_static(site.label.name), task)
    }
}
