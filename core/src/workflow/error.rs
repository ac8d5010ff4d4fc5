//! The errors of workflows and activities. They must not know what a run does with them.

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::failure::{CALL_FAILED, Failure, UNNAMED};
use crate::data::id::RunId;
use crate::data::outcome::Outcome;
use crate::data::typed_failure::TypedFailure;

/// The result of a workflow and of every fallible durable call.
pub type WorkflowResult<T> = Result<T, WorkflowError>;

/// An error of a workflow: a failed activity or step, a cancellation, a timeout, or an error of the workflow's own.
///
/// `?` converts any [`std::error::Error`] and an [`ActivityError`]. Types that do not implement `Error`, such as
/// `anyhow::Error` and `Box<dyn Error + Send + Sync>`, need [`.or_fail()?`](crate::workflow::error::OrFail).
///
/// ```
/// use pgworkflows::workflow::WorkflowError;
///
/// let error = WorkflowError::new("out-of-stock", "3 items are missing").with_details(&3);
/// assert_eq!(error.to_string(), "3 items are missing (out-of-stock)");
/// assert!(error.is("out-of-stock"));
/// assert_eq!(error.details(), Some(3));
/// assert!(!error.is_timeout() && !error.is_cancelled());
///
/// assert!(WorkflowError::cancelled().is_cancelled());
/// ```
pub struct WorkflowError(Kind);

enum Kind {
    Failed(Failure),
    TimedOut(Failure),
    Cancelled,
}

impl WorkflowError {
    /// Makes an error with a type name of your choice, such as `out-of-stock`, which is how callers recognise it. See the
    /// example [above](WorkflowError). Each text is cut after 10,000 characters when it is recorded.
    pub fn new(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Kind::Failed(Failure::new(type_name, message)))
    }

    /// Makes the error of a cancellation: a workflow that returns it ends as cancelled. See the example
    /// [above](WorkflowError).
    pub fn cancelled() -> Self {
        Self(Kind::Cancelled)
    }

    pub(crate) fn timed_out(message: String) -> Self {
        Self(Kind::TimedOut(Failure::new(TIMED_OUT, message)))
    }

    /// The error of an activity or a step: the recorded failure is its cause, and has the same details.
    pub(crate) fn call_failed(call: &str, name: &str, cause: Failure) -> Self {
        Self(Kind::Failed(caused(CALL_FAILED, format!("{call} `{name}` failed"), cause)))
    }

    /// The error of a failure that says everything.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self(Kind::Failed(failure))
    }

    /// This error as the cause of another one, which has the same details. A timeout and a cancellation stay as they are.
    pub(crate) fn caused(self, type_name: &str, message: String) -> Self {
        match self.0 {
            Kind::Failed(cause) => Self(Kind::Failed(caused(type_name, message, cause))),
            kind @ (Kind::TimedOut(_) | Kind::Cancelled) => Self(kind),
        }
    }

    /// Makes the error of a failure with a type of your own; `?` and `into` do the same.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[derive(Debug, PartialEq, Failure)]
    /// enum OrderError {
    ///     #[failure("out-of-stock", "{missing} items are missing")]
    ///     OutOfStock { missing: u32 },
    /// }
    ///
    /// let error = WorkflowError::of(OrderError::OutOfStock { missing: 3 });
    /// assert_eq!(error.to_string(), "3 items are missing (out-of-stock)");
    /// assert_eq!(error.typed(), Some(OrderError::OutOfStock { missing: 3 }));
    /// ```
    pub fn of<E: TypedFailure>(failure: E) -> Self {
        Self(Kind::Failed(failure.into_failure()))
    }

    /// The outcome of a run that returns this error.
    pub(crate) fn into_outcome(self, details_bytes_max: usize) -> Outcome {
        match self.0 {
            Kind::Failed(failure) | Kind::TimedOut(failure) => {
                Outcome::Failed(failure.bounded(details_bytes_max))
            }
            Kind::Cancelled => Outcome::Cancelled,
        }
    }

    /// Attaches data that callers read by [`Failure::details`]; does nothing to a cancellation. Details that cannot be
    /// encoded are dropped, and the message says so. See the example [above](WorkflowError).
    #[must_use]
    pub fn with_details<T: Serialize>(mut self, details: &T) -> Self {
        match &mut self.0 {
            Kind::Failed(failure) | Kind::TimedOut(failure) => failure.attach(details),
            Kind::Cancelled => {}
        }
        self
    }

    /// Whether this is the cancellation of the run: see the example [above](WorkflowError).
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Kind::Cancelled)
    }

    /// Whether a [`.timeout(…)`](crate::workflow::calls::timeout::Durable::timeout) ran out. The timeouts of an activity
    /// are failures of that activity instead. See the example [above](WorkflowError).
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Kind::TimedOut(_))
    }

    /// The failure, or `None` for a cancellation. A failed activity or step is the failure's cause. See the example
    /// [above](WorkflowError).
    pub fn failure(&self) -> Option<&Failure> {
        match &self.0 {
            Kind::Failed(failure) | Kind::TimedOut(failure) => Some(failure),
            Kind::Cancelled => None,
        }
    }

    /// Whether the failure or one of its causes has this stored name: see the example [above](WorkflowError). A
    /// cancellation has none.
    pub fn is(&self, type_name: &str) -> bool {
        self.failure().is_some_and(|failure| failure.is(type_name))
    }

    /// The failure as a type that derives `Failure`: the first of the failure and its causes that has one of the type's
    /// stored names. `None` if there is none, or if its details cannot be read. See the example of [`of`](Self::of).
    pub fn typed<E: TypedFailure>(&self) -> Option<E> {
        self.failure()?.typed()
    }

    /// The failure's details, or `None` if there are none of this type: see the example [above](WorkflowError).
    pub fn details<T: DeserializeOwned>(&self) -> Option<T> {
        self.failure()?.details()
    }
}

/// The type name of the failure that a `.timeout(…)` causes.
const TIMED_OUT: &str = "timed-out";

impl Failure {
    /// The failure of a child as its parent's code sees it.
    pub(crate) fn of_child(self, workflow: &str, child: RunId) -> Self {
        caused(CALL_FAILED, format!("child `{workflow}` (run {child}) failed"), self)
    }
}

/// A failure that has the same details as its cause, and whether a retry may succeed.
fn caused(type_name: &str, message: String, cause: Failure) -> Failure {
    let mut failure = Failure::new(type_name, message);
    failure.retryable = cause.retryable;
    failure.details = cause.details.clone();
    failure.cause = Some(Box::new(cause));
    failure
}

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

/// The result of an activity or a step.
pub type ActivityResult<T> = Result<T, ActivityError>;

/// An error of an activity or a step, retryable unless it says otherwise.
///
/// `?` converts any [`std::error::Error`]. Types that do not implement `Error`, such as `anyhow::Error` and
/// `Box<dyn Error + Send + Sync>`, need [`.or_fail()?`](crate::workflow::error::OrFail).
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
///
/// let declined = ActivityError::new("card-declined", "the bank said no").with_details(&51);
/// assert_eq!(declined.into_failure().details(), Some(51));
/// ```
#[derive(Clone)]
pub struct ActivityError(Failure);

impl ActivityError {
    /// Makes a retryable error with a type name of your choice, such as `card-declined`, which is how callers and
    /// [`RetryPolicy::non_retryable`](crate::data::retry::RetryPolicy::non_retryable) recognise it. See the example
    /// [above](ActivityError). Each text is cut after 10,000 characters when it is recorded.
    pub fn new(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Failure::new(type_name, message))
    }

    /// Makes an error with a type name, as [`new`](Self::new) does, after which no other attempt is made.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// let stolen = ActivityError::fatal("card-stolen", "the card was reported stolen");
    /// assert!(!stolen.into_failure().retryable);
    /// ```
    pub fn fatal(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Failure::new(type_name, message).non_retryable())
    }

    /// Makes the error of a failure with a type of your own; `?` and `into` do the same.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[derive(Debug, Failure)]
    /// enum ChargeError {
    ///     #[failure("card-declined", fatal, "declined: {0}")]
    ///     Declined(String),
    /// }
    ///
    /// let error = ActivityError::of(ChargeError::Declined("no money".to_owned()));
    /// assert_eq!(error.to_string(), "declined: no money (card-declined)");
    /// ```
    pub fn of<E: TypedFailure>(failure: E) -> Self {
        Self(failure.into_failure())
    }

    /// Makes an error after which no other attempt is made, whatever the retry policy says: see the example
    /// [above](ActivityError).
    pub fn non_retryable(error: impl Into<Self>) -> Self {
        Self(error.into().0.non_retryable())
    }

    /// Attaches data that callers read by [`Failure::details`]. Details that cannot be encoded are dropped, and the
    /// message says so. See the example [above](ActivityError).
    #[must_use]
    pub fn with_details<T: Serialize>(mut self, details: &T) -> Self {
        self.0.attach(details);
        self
    }

    pub(crate) fn from_failure(failure: Failure) -> Self {
        Self(failure)
    }

    /// Returns the failure that is recorded: see the example [above](ActivityError).
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

/// Converts errors that do not implement [`std::error::Error`] themselves: `anyhow::Error`, `eyre::Report`,
/// `Box<dyn Error + Send + Sync>`. The language's coherence rules allow no second `From` beside the one for every
/// `Error`, so call [`or_fail`](OrFail::or_fail) before `?`.
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
    /// Converts the error into an [`ActivityError`] whose causes are the error's sources; in a workflow, `?` converts
    /// that into a [`WorkflowError`]. The failure's type name is that of the wrapper, such as `anyhow::Error`, or
    /// `error` for a box. A [`Failure`] is returned unchanged. See the example [above](OrFail).
    ///
    /// # Errors
    /// Returns an error if `self` is one.
    fn or_fail(self) -> ActivityResult<T>;
}

impl<T, E: AsRef<dyn StdError + Send + Sync>> OrFail<T> for Result<T, E> {
    fn or_fail(self) -> ActivityResult<T> {
        self.map_err(|error| {
            let mut failure = Failure::from_source(error.as_ref(), 0);
            let wrapper = std::any::type_name::<E>();
            // The type name of a box says nothing about the error.
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
    fn failure_wrapped_in_another_error_is_unchanged() {
        let mut declined = Failure::new("card-declined", "no money").non_retryable();
        declined.attach(&7);
        let wrapped = Err::<(), _>(anyhow::Error::new(declined.clone()));
        assert_eq!(wrapped.or_fail().unwrap_err().into_failure(), declined);
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
