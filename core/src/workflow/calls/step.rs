//! `ctx.step`: an inline activity. Only its outcome is logged; it is executed by the worker, never inside of
//! the program, and not before everything that led to it is committed.

use std::future::Future;
use std::marker::PhantomData;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::future::{Call, DurableFuture, Opened, Site};
use crate::data::failure::Failure;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::retry::RetryPolicy;
use crate::guard::Guarded;
use crate::workflow::command::{Source, StepRequest, StepTask};
use crate::workflow::error::{ActivityError, ActivityResult, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::Ticket;

/// An inline activity: asked for when it is first polled, given up when it is dropped before its outcome.
pub type StepFuture<T, F> = DurableFuture<StepCall<T, F>>;

/// What makes the step's attempts.
#[derive(Debug)]
pub struct StepCall<T, F> {
    make: F,
    retry: RetryPolicy,
    output: PhantomData<fn() -> T>,
}

impl<T, F> DurableFuture<StepCall<T, F>> {
    pub(crate) fn step(scope: &Rc<Scope>, name: &'static str, make: F, source: Source) -> Self {
        let call = StepCall { make, retry: RetryPolicy::none(), output: PhantomData };
        Self::new(scope, "step", name, source, call)
    }

    /// Which failed attempts are followed by another; without it, none. Attempts of a step are counted in memory: a
    /// crash begins again with the first.
    #[track_caller]
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.set(|call| call.retry = policy)
    }
}

impl<T, F, Fut> Call for StepCall<T, F>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = ActivityResult<T>> + Send + 'static,
{
    type Output = WorkflowResult<T>;

    fn open(self, site: &Site) -> Option<Opened<Self::Output>> {
        let Self { mut make, retry, .. } = self;
        if let Err(problem) = retry.check() {
            site.fault(problem);
            return None;
        }
        let name = Name::from_static(site.label.name);
        let ticket = Ticket::open(&site.scope, CallKind::Step(name.clone()), site.source);
        let task: StepTask = Box::new(move || {
            let attempt = make();
            Box::pin(async move {
                let value = attempt.await.map_err(ActivityError::into_failure)?;
                Payload::encode_readable(&value).map_err(|error| Failure::from_error(&error).non_retryable())
            })
        });
        let task = Guarded::new(task);
        site.scope.request_step(StepRequest { id: ticket.id(), name, source: site.source, retry, task });
        Some(Opened::Waits(ticket))
    }

    fn value(site: &Site, resolution: Resolution) -> Option<Self::Output> {
        site.outcome("result", resolution)
    }
}
