//! The error of a call whose failures have a type. It must not know which call.

use std::fmt;

use crate::data::failure::Failure;
use crate::data::typed_failure::TypedFailure;
use crate::workflow::error::WorkflowError;

/// The error of a call whose own failures are an `E`, which derives `Failure`. Everything else is a [`WorkflowError`].
///
/// `?` converts it into a [`WorkflowError`]: a failure keeps its stored name, a cancellation stays a cancellation, and a
/// timeout a timeout.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// #[derive(Debug, Failure)]
/// enum ChargeError {
///     #[failure("card-declined", fatal, "declined: {0}")]
///     Declined(String),
///     #[failure("busy", "the bank is busy")]
///     Busy,
/// }
/// # struct Charge;
/// # #[async_trait]
/// # impl Activity for Charge {
/// #     const NAME: &'static str = "charge";
/// #     type Input = u64;
/// #     type Output = String;
/// #     async fn execute(&self, _: ActivityContext, _: u64) -> ActivityResult<String> {
/// #         Err(ChargeError::Busy)?
/// #     }
/// # }
///
/// async fn pay(ctx: &Context, cents: u64) -> WorkflowResult<Option<String>> {
///     match ctx.activity::<Charge>(cents).await.map_err(CallError::of) {
///         Err(CallError::Failed(ChargeError::Declined(_))) => Ok(None),
///         receipt => Ok(Some(receipt?)), // A busy bank, a cancellation and everything else end the run.
///     }
/// }
/// ```
///
/// It is no [`std::error::Error`], for the same reason as a [`TypedFailure`].
pub enum CallError<E> {
    /// A failure whose stored name `E` has.
    Failed(E),
    /// Anything else: a failure with a name that `E` does not have, such as one of newer code, a timeout, a
    /// cancellation. If the name is one of `E` and the details are not, its type is `unreadable-details`; the failure
    /// is its cause.
    Other(WorkflowError),
}

impl<E: TypedFailure> CallError<E> {
    /// Looks for an `E` in an error and its causes. See the example [above](CallError).
    ///
    /// What it finds follows from the log and the names that `E` has. A variant that is added later is found in open
    /// runs, too: if they took another way before, they stall with a diagnosis. So add the variant together with a new
    /// stored name.
    pub fn of(error: WorkflowError) -> Self {
        match error.failure().and_then(Failure::find) {
            Some(Ok(failed)) => Self::Failed(failed),
            Some(Err(unreadable)) => Self::Other(error.caused("unreadable-details", unreadable.to_string())),
            None => Self::Other(error),
        }
    }
}

/// The error of a branch of [`for_each`](crate::workflow::Context::for_each): a [`WorkflowError`], a [`CallError`], or a
/// type of your own.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows::workflow::BranchError;
///
/// assert!(BranchError::is_cancelled(&WorkflowError::cancelled()));
/// assert!(!BranchError::is_cancelled(&WorkflowError::new("out-of-stock", "3 items are missing")));
/// ```
pub trait BranchError: From<WorkflowError> {
    /// Whether it is the cancellation of the run.
    fn is_cancelled(&self) -> bool;
}

impl BranchError for WorkflowError {
    fn is_cancelled(&self) -> bool {
        Self::is_cancelled(self)
    }
}

impl<E> BranchError for CallError<E> {
    fn is_cancelled(&self) -> bool {
        match self {
            Self::Failed(_) => false,
            Self::Other(error) => error.is_cancelled(),
        }
    }
}

impl<E> From<WorkflowError> for CallError<E> {
    /// An error of the workflow itself: it is not searched for an `E`.
    fn from(error: WorkflowError) -> Self {
        Self::Other(error)
    }
}

impl<E: TypedFailure> From<E> for CallError<E> {
    fn from(failed: E) -> Self {
        Self::Failed(failed)
    }
}

impl<E: TypedFailure> From<CallError<E>> for WorkflowError {
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::Failed(failed) => Self::of(failed),
            CallError::Other(error) => error,
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failed) => failed.fmt(f),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failed) => f.debug_tuple("Failed").field(failed).finish(),
            Self::Other(error) => f.debug_tuple("Other").field(error).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use pgworkflows_macros::Failure;

    use super::*;
    use crate::data::outcome::Outcome;
    use crate::workflow::error::ActivityError;

    #[derive(Debug, PartialEq, Failure)]
    #[failure(crate = crate)]
    enum ChargeError {
        #[failure("card-declined", fatal, "declined: {0}")]
        Declined(String),
        #[failure("busy")]
        Busy,
    }

    fn declined() -> ChargeError {
        ChargeError::Declined("no money".to_owned())
    }

    /// What a workflow gets if an activity fails with this error.
    fn call_failed(error: impl Into<ActivityError>) -> WorkflowError {
        WorkflowError::call_failed("activity", "charge", error.into().into_failure())
    }

    #[test]
    fn failure_of_a_call_is_found_by_its_name() {
        let found = CallError::of(call_failed(declined()));
        assert!(matches!(found, CallError::Failed(ChargeError::Declined(why)) if why == "no money"));
        assert!(matches!(
            CallError::of(call_failed(ChargeError::Busy)),
            CallError::Failed(ChargeError::Busy)
        ));
    }

    #[test]
    fn unknown_name_is_passed_on_unchanged() {
        let stolen = call_failed(ActivityError::fatal("card-stolen", "call the police"));
        let shown = stolen.to_string();
        let CallError::Other(error) = CallError::<ChargeError>::of(stolen) else {
            panic!("it has another name")
        };
        assert_eq!(error.to_string(), shown);
        assert!(error.is("card-stolen") && !error.is("card-declined"));
    }

    #[test]
    fn details_that_cannot_be_read_are_a_cause_and_the_reason_is_said() {
        for error in [
            ActivityError::new("card-declined", "of old code"),
            ActivityError::new("card-declined", "of old code").with_details(&7),
        ] {
            let CallError::Other(error) = CallError::<ChargeError>::of(call_failed(error)) else {
                panic!("its details are no text")
            };
            assert_eq!(error.failure().unwrap().type_name, "unreadable-details");
            assert!(error.is("card-declined") && error.is("call-failed"));
            assert_eq!(error.typed::<ChargeError>(), None);
            assert!(error.to_string().contains("the details of `card-declined`"), "{error}");
        }
    }

    #[test]
    fn cancellation_and_timeout_survive_the_question_mark_as_what_they_are() {
        fn passed_on(error: WorkflowError) -> Result<(), WorkflowError> {
            Ok(Err(CallError::<ChargeError>::of(error))?)
        }
        let cancelled = passed_on(WorkflowError::cancelled()).unwrap_err();
        assert!(cancelled.is_cancelled());
        assert_eq!(cancelled.into_outcome(0), Outcome::Cancelled);
        assert!(passed_on(WorkflowError::timed_out("too late".to_owned())).unwrap_err().is_timeout());
    }

    #[test]
    fn typed_failure_survives_the_question_mark_with_its_name_and_details() {
        fn passed_on() -> Result<(), WorkflowError> {
            Ok(Err(CallError::from(declined()))?)
        }
        let error = passed_on().unwrap_err();
        assert_eq!(error.typed(), Some(declined()));
        assert!(!error.failure().unwrap().retryable);
    }
}
