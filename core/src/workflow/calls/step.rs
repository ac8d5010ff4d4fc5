//! `ctx.step`: an inline activity. Only its outcome is logged. The worker executes it after everything that led to it is
//! committed, never inside the program. It must not know how.

use std::future::Future;
use std::marker::PhantomData;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::future::{CallSite, DurableCall, DurableFuture, Opened};
use crate::data::failure::Failure;
use crate::data::payload::Payload;
use crate::data::retry::RetryPolicy;
use crate::guard::Guarded;
use crate::workflow::command::{Source, StepRequest, StepTask};
use crate::workflow::error::{ActivityError, ActivityResult, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::CallHandle;

/// An inline activity. The first poll requests it; dropping the future before its outcome cancels it.
///
/// ```
/// # use pgworkflows::prelude::*;
/// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
/// let body = ctx
///     .step("read-config", || async { Ok(std::fs::read_to_string("config.toml")?) })
///     .retry(RetryPolicy::exponential().max_attempts(3))
///     .await?;
/// # let _: String = body;
/// # Ok(())
/// # }
/// ```
pub type StepFuture<T, F> = DurableFuture<StepCall<T, F>>;

/// The closure that makes the step's attempts.
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

    /// Sets the retry policy; without one, there is one attempt. Attempts are counted in memory, so a crash starts
    /// again with the first. See [`StepFuture`].
    ///
    /// # Errors
    /// A policy that is set after the first poll, or has a value out of its range, stalls the run.
    #[track_caller]
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.set(|call| call.retry = policy)
    }
}

impl<T, F, Fut> DurableCall for StepCall<T, F>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = ActivityResult<T>> + Send + 'static,
{
    type Output = WorkflowResult<T>;

    fn open(self, site: &CallSite) -> Option<Opened<Self::Output>> {
        let Self { mut make, retry, .. } = self;
        if let Err(problem) = retry.check() {
            site.fault(problem);
            return None;
        }
        let name = site.label.name.clone();
        let handle = CallHandle::open(&site.scope, CallKind::Step(name.clone()), site.source);
        let task: StepTask = Box::new(move || {
            let attempt = make();
            Box::pin(async move {
                let value = attempt.await.map_err(ActivityError::into_failure)?;
                Payload::encode_readable(&value).map_err(|error| Failure::from_error(&error).non_retryable())
            })
        });
        let task = Guarded::new(task);
        site.scope.request_step(StepRequest { id: handle.id(), name, source: site.source, retry, task });
        Some(Opened::Waits(handle))
    }

    fn value(site: &CallSite, resolution: Resolution) -> Option<Self::Output> {
        site.outcome("result", resolution)
    }
}
