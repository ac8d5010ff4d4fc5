//! What users implement: workflows, and the errors that travel through them.

pub(crate) mod activity;
pub(crate) mod bare;
pub(crate) mod calls;
pub(crate) mod command;
pub(crate) mod context;
pub(crate) mod mark;
pub(crate) mod program;
pub(crate) mod registry;
pub(crate) mod scope;
pub(crate) mod signal;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::activity::ActivityError;
use self::context::Context;
use crate::data::failure::Failure;
use crate::data::outcome::Outcome;

/// Deterministic code that survives its process: a plain `async fn`, replayed from the log after a crash.
///
/// Given the same resolutions in the same order, it must make the same durable calls in the same order. So it
/// takes the time, random numbers and ids from its [`Context`], and puts everything else that could differ
/// into activities and steps. It need not be `Send`.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// pub struct Reminder;
///
/// impl Workflow for Reminder {
///     const NAME: &'static str = "reminder";
///     type Input = String;
///     type Output = String;
///
///     async fn run(ctx: Context, name: String) -> WorkflowResult<String> {
///         ctx.sleep(Duration::from_secs(11 * 24 * 3600)).await?;
///         Ok(format!("It is time, {name}."))
///     }
/// }
/// ```
pub trait Workflow: 'static {
    /// The stored name, unique among a worker's workflows. Runs that are open refer to it: never change it.
    const NAME: &'static str;
    /// What it is started with, as a [`Payload`](crate::data::payload::Payload).
    type Input: Serialize + DeserializeOwned + 'static;
    /// What it returns, as a [`Payload`](crate::data::payload::Payload).
    type Output: Serialize + DeserializeOwned + 'static;

    /// The workflow's code.
    fn run(ctx: Context, input: Self::Input) -> impl Future<Output = WorkflowResult<Self::Output>> + 'static;
}

/// What a workflow, and every durable call in it, returns.
pub type WorkflowResult<T> = Result<T, WorkflowError>;

/// An error in a workflow: an activity that failed, a cancellation, a timeout, or the workflow's own. Any
/// [`std::error::Error`] becomes one by `?`, and so does an [`ActivityError`]; what is none, such as `anyhow::Error` or
/// a `Box<dyn Error + Send + Sync>`, by [`.or_fail()?`](crate::data::failure::OrFail).
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
