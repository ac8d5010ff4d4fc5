//! The errors that travel through workflows and activities. They must not know what a run does with them.

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::failure::{Failure, UNNAMED};
use crate::data::outcome::Outcome;

/// What a workflow, and every durable call in it, returns.
pub type WorkflowResult<T> = Result<T, WorkflowError>;

/// An error in a workflow: an activity that failed, a cancellation, a timeout, or the workflow's own. Any
/// [`std::error::Error`] becomes one by `?`, and so does an [`ActivityError`]; what is none, such as `anyhow::Error` or
/// a `Box<dyn Error + Send + Sync>`, by [`.or_fail()?`](crate::workflow::error::OrFail).
pub struct WorkflowError(Kind);

enum Kind {
    Failed(Failure),
    TimedOut(Failure),
    Cancelled,
}

impl WorkflowError {
    /// An error of a type that its author names, such as `out-of-stock`.
    pub fn new(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Kind::Failed(Failure::new(type_name, message)))
    }

    /// The cancellation that was asked for: a workflow that returns it ends as cancelled.
    pub fn cancelled() -> Self {
        Self(Kind::Cancelled)
    }

    pub(crate) fn timed_out(message: String) -> Self {
        Self(Kind::TimedOut(Failure::new(TIMED_OUT, message)))
    }

    /// The error of an activity or a step: the recorded failure as the cause, its details within reach.
    pub(crate) fn call_failed(call: &str, name: &str, cause: Failure) -> Self {
        let mut failure = Failure::new(CALL_FAILED, format!("{call} `{name}` failed"));
        failure.retryable = cause.retryable;
        failure.details = cause.details.clone();
        failure.cause = Some(Box::new(cause));
        Self(Kind::Failed(failure))
    }

    /// How a run ends that returns this error.
    pub(crate) fn into_outcome(self, details_bytes_max: usize) -> Outcome {
        match self.0 {
            Kind::Failed(failure) | Kind::TimedOut(failure) => {
                Outcome::Failed(failure.bounded(details_bytes_max))
            }
            Kind::Cancelled => Outcome::Cancelled,
        }
    }

    /// Attaches data that callers get back by [`Failure::details`]; to a cancellation, none.
    #[must_use]
    pub fn with_details<T: Serialize>(mut self, details: &T) -> Self {
        match &mut self.0 {
            Kind::Failed(failure) | Kind::TimedOut(failure) => failure.attach(details),
            Kind::Cancelled => {}
        }
        self
    }

    /// Whether this is the cancellation of the run.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Kind::Cancelled)
    }

    /// Whether a `.timeout(…)` of the workflow ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Kind::TimedOut(_))
    }

    /// The failure; `None` for a cancellation.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.0 {
            Kind::Failed(failure) | Kind::TimedOut(failure) => Some(failure),
            Kind::Cancelled => None,
        }
    }

    /// The failure's details as a value; `None` if there are none, or none of this type.
    pub fn details<T: DeserializeOwned>(&self) -> Option<T> {
        self.failure()?.details()
    }
}

/// The type name of the failure that a failed activity or step raises in its workflow.
const CALL_FAILED: &str = "call-failed";

/// The type name of the failure that a `.timeout(…)` raises.
const TIMED_OUT: &str = "timed-out";

impl<E: StdError> From<E> for WorkflowError {
    fn from(error: E) -> Self {
        Self(Kind::Failed(Failure::from_error(&error)))
    }
}

impl From<ActivityError> for WorkflowError {
    fn from(error: ActivityError) -> Self {
        Self(Kind::Failed(error.into_failure()))
    }
}

impl fmt::Display for WorkflowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Failed(failure) | Kind::TimedOut(failure) => fmt::Display::fmt(failure, f),
            Kind::Cancelled => f.write_str("the run was cancelled"),
        }
    }
}

impl fmt::Debug for WorkflowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Failed(failure) | Kind::TimedOut(failure) => fmt::Debug::fmt(failure, f),
            Kind::Cancelled => f.write_str("Cancelled"),
        }
    }
}

/// What an activity or a step returns.
pub type ActivityResult<T> = Result<T, ActivityError>;

/// An activity's error. Any [`std::error::Error`] becomes one by `?`, and what is none, such as `anyhow::Error` or a
/// `Box<dyn Error + Send + Sync>`, by [`.or_fail()?`](crate::workflow::error::OrFail).
///
/// ```
/// use pgworkflows::activity::{ActivityError, ActivityResult};
///
/// fn parse(amount: &str) -> ActivityResult<u64> {
///     Ok(amount.parse::<u64>().map_err(ActivityError::non_retryable)?)
/// }
///
/// let failure = parse("ten").unwrap_err().into_failure();
/// assert!(!failure.retryable);
/// assert!(failure.type_name.contains("ParseIntError"));
/// ```
#[derive(Clone)]
pub struct ActivityError(Failure);

impl ActivityError {
    /// An error of a type that its author names, such as `card-declined`. Retryable.
    pub fn new(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Failure::new(type_name, message))
    }

    /// An error that another attempt will not cure.
    pub fn non_retryable(error: impl Into<Self>) -> Self {
        Self(error.into().0.non_retryable())
    }

    /// Attaches data that callers get back by [`Failure::details`].
    #[must_use]
    pub fn with_details<T: Serialize>(mut self, details: &T) -> Self {
        self.0.attach(details);
        self
    }

    pub(crate) fn from_failure(failure: Failure) -> Self {
        Self(failure)
    }

    /// The failure that is recorded.
    pub fn into_failure(self) -> Failure {
        self.0
    }
}

impl<E: StdError> From<E> for ActivityError {
    fn from(error: E) -> Self {
        Self(Failure::from_error(&error))
    }
}

impl fmt::Display for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// `?` for errors that do not implement [`std::error::Error`] themselves: `anyhow::Error`, `eyre::Report`,
/// `Box<dyn Error + Send + Sync>`. The language's rules leave no room for a `From` beside the one for every `Error`, so
/// say [`or_fail`](OrFail::or_fail) first.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// type AnyError = Box<dyn std::error::Error + Send + Sync>;
///
/// fn charge() -> Result<u64, AnyError> {
///     Err("the bank is closed".into())
/// }
///
/// fn in_an_activity() -> ActivityResult<u64> {
///     Ok(charge().or_fail()?)
/// }
///
/// fn in_a_workflow() -> WorkflowResult<u64> {
///     Ok(charge().or_fail()?)
/// }
///
/// fn not_to_be_tried_again() -> ActivityResult<u64> {
///     charge().or_fail().map_err(ActivityError::non_retryable)
/// }
/// # assert_eq!(in_an_activity().unwrap_err().to_string(), "the bank is closed");
/// # assert_eq!(in_a_workflow().unwrap_err().to_string(), "the bank is closed");
/// # assert!(!not_to_be_tried_again().unwrap_err().into_failure().retryable);
/// ```
pub trait OrFail<T> {
    /// Makes an [`ActivityError`] of the error, its sources as causes; `?` makes a
    /// [`WorkflowError`](crate::workflow::error::WorkflowError) of that where one is wanted. The failure's type is that of the wrapper,
    /// such as `anyhow::Error`, or `error` for a box; a [`Failure`] stays what it was.
    ///
    /// # Errors
    /// If this is an error.
    fn or_fail(self) -> ActivityResult<T>;
}

impl<T, E: AsRef<dyn StdError + Send + Sync>> OrFail<T> for Result<T, E> {
    fn or_fail(self) -> ActivityResult<T> {
        self.map_err(|error| {
            let mut failure = Failure::from_source(error.as_ref(), 0);
            let wrapper = std::any::type_name::<E>();
            // A box says nothing of what went wrong.
            if failure.type_name == UNNAMED && !wrapper.starts_with("alloc::") {
                failure.type_name = wrapper.to_owned();
            }
            ActivityError::from_failure(failure)
        })
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    type AnyError = Box<dyn StdError + Send + Sync>;

    fn read() -> anyhow::Result<()> {
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        Err(denied).context("the vault is shut").context("nothing was paid")
    }

    #[test]
    fn error_of_anyhow_fails_an_activity_with_all_its_causes() {
        fn activity() -> ActivityResult<()> {
            read().or_fail()?;
            Ok(())
        }
        let failure = activity().unwrap_err().into_failure();
        assert_eq!(
            failure.to_string(),
            "nothing was paid (anyhow::Error): the vault is shut: permission denied"
        );
        assert!(failure.retryable);
    }

    #[test]
    fn boxed_error_fails_a_workflow() {
        fn workflow(error: AnyError) -> WorkflowResult<()> {
            Err(error).or_fail()?;
            Ok(())
        }
        let io = std::io::Error::other("no more disks");
        assert_eq!(
            workflow(io.into()).unwrap_err().failure().unwrap(),
            &Failure::new("error", "no more disks")
        );
    }

    #[test]
    fn failure_that_travelled_as_another_error_is_what_it_was() {
        let mut declined = Failure::new("card-declined", "no money").non_retryable();
        declined.attach(&7);
        let travelled = Err::<(), _>(anyhow::Error::new(declined.clone()));
        assert_eq!(travelled.or_fail().unwrap_err().into_failure(), declined);
        assert_eq!(Err::<(), _>(declined.clone()).or_fail().unwrap_err().into_failure(), declined);
        let within = Err::<(), _>(declined.clone()).context("not paid").or_fail().unwrap_err().into_failure();
        assert_eq!(within.cause.as_deref(), Some(&declined));
        assert!(within.is("card-declined"));
    }

    #[test]
    fn failure_shows_its_type_and_those_of_its_causes() {
        let mut failure = Failure::new("not-paid", "nothing was paid");
        failure.cause = Some(Box::new(Failure::new("card-declined", "no money").non_retryable()));
        let shown = "nothing was paid (not-paid): no money (card-declined)";
        assert_eq!(failure.to_string(), shown);
        assert_eq!(format!("{failure:?}"), shown);
        assert_eq!(ActivityError::from_failure(failure.clone()).to_string(), shown);
        assert_eq!(WorkflowError::from(ActivityError::from_failure(failure)).to_string(), shown);
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert!(Failure::from_error(&error).to_string().ends_with(" (std::io::error::Error)"));
    }

    #[test]
    fn details_that_cannot_be_attached_are_named_in_either_error() {
        let unwritable = std::time::UNIX_EPOCH - std::time::Duration::from_secs(1);
        let activity = ActivityError::new("odd", "it broke").with_details(&unwritable).to_string();
        let workflow = WorkflowError::new("odd", "it broke").with_details(&unwritable).to_string();
        assert!(activity.contains("it broke (its details are lost: "), "{activity}");
        assert_eq!(activity, workflow);
    }
}
