//! An activity with its types erased, as a worker executes it. It must not know how it is registered.

use futures::FutureExt;

use crate::data::failure::Failure;
use crate::data::payload::Payload;
use crate::error::Error;
use crate::guard::{Guarded, Work};
use crate::host::AttemptFuture;
use crate::store::Store;
use crate::workflow::activity::{Activity, ActivityContext};
use crate::workflow::error::ActivityError;

/// An activity with its types erased.
pub(crate) trait ExecuteActivity: Send + Sync {
    /// Makes one attempt, whose future does not panic. An error says why this build cannot decode the input, which is
    /// done by user code.
    fn attempt(&self, ctx: ActivityContext, input: &Payload) -> Result<AttemptFuture<'_>, String>;

    /// Whether it records its outcome itself, for which it has to be a task.
    fn is_transactional(&self) -> bool;

    /// Checks that a worker of this store can execute it.
    fn check_store(&self, store: &dyn Store) -> Result<(), Error>;
}

impl<A: Activity> ExecuteActivity for Guarded<A> {
    fn attempt(&self, ctx: ActivityContext, input: &Payload) -> Result<AttemptFuture<'_>, String> {
        let input = input.decode::<A::Input>().map_err(|error| {
            format!(
                "the input of activity `{}`: {error}; deploy code that can read it, and the run resumes",
                A::NAME
            )
        })?;
        Ok(guarded(async move {
            let output = self.execute(ctx, input).await.map_err(ActivityError::into_failure)?;
            Payload::encode_readable(&output).map_err(|error| Failure::from_error(&error).non_retryable())
        }))
    }

    fn is_transactional(&self) -> bool {
        A::options().get().transactional
    }

    fn check_store(&self, store: &dyn Store) -> Result<(), Error> {
        A::check_store(self, store)
    }
}

/// Converts a panic of the user's code into a failed attempt, which is retryable.
pub(crate) fn guarded<'a>(
    work: impl Future<Output = Result<Payload, Failure>> + Send + 'a,
) -> AttemptFuture<'a> {
    Box::pin(
        Work::new(work)
            .map(|ended| ended.unwrap_or_else(|panic| Err(Failure::new("panic", panic.to_string())))),
    )
}
