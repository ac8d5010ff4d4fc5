//! The error that users see: one opaque type with predicates. No error of a database is visible in it.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

pub use crate::data::divergence::Divergence;
pub use crate::data::failure::Failure;
use crate::data::id::{InvalidId, RunId};
use crate::data::name::Name;
pub use crate::data::outcome::Uncompensated;
use crate::data::payload::PayloadError;
pub use crate::data::typed_failure::TypedFailure;
use crate::store::error::StoreError;

/// The error of clients and workers. Its text names the thing, the value, the limit and what to do; its predicates
/// tell its kind.
///
/// ```
/// use pgworkflows::{Error, RunId};
///
/// fn parse(id: &str) -> Result<RunId, Error> {
///     Ok(id.parse()?)
/// }
///
/// let error = parse("42").unwrap_err();
/// assert!(error.is_invalid());
/// assert!(error.to_string().starts_with("`42` is not a run id"));
/// ```
pub struct Error(Box<Kind>);

#[derive(Debug)]
enum Kind {
    Invalid(String),
    Diverged { message: String, divergence: Divergence },
    Payload(String, PayloadError),
    UnknownRun(String),
    RunOver(RunId),
    KeyConflict(KeyConflict),
    RunFailed { run: RunId, failure: Failure, uncompensated: Vec<Uncompensated> },
    RunCancelled { run: RunId, reason: Option<String>, uncompensated: Vec<Uncompensated> },
    RunTerminated { run: RunId, reason: String, skipped: Vec<String> },
    TimedOut { run: RunId, waited: Duration, waiting_on: Option<String> },
    ForeignTransaction { wanted: &'static str },
    GaveUp(String),
    Store(StoreError),
}

#[derive(Debug)]
struct KeyConflict {
    workflow: Name,
    key: String,
    run: RunId,
    /// What differs: the input, or a digest that the caller gave.
    compared: &'static str,
    /// Where the inputs differ, in words; empty if that is not known.
    differences: Vec<String>,
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self(Box::new(Kind::Invalid(message.into())))
    }

    pub(crate) fn diverged(message: impl Into<String>, divergence: Divergence) -> Self {
        Self(Box::new(Kind::Diverged { message: message.into(), divergence }))
    }

    pub(crate) fn payload(what: impl Into<String>, error: PayloadError) -> Self {
        Self(Box::new(Kind::Payload(what.into(), error)))
    }

    pub(crate) fn unknown_run(what: impl Into<String>) -> Self {
        Self(Box::new(Kind::UnknownRun(what.into())))
    }

    pub(crate) fn run_over(run: RunId) -> Self {
        Self(Box::new(Kind::RunOver(run)))
    }

    pub(crate) fn key_conflict(workflow: Name, key: String, compared: &'static str, run: RunId) -> Self {
        let conflict = KeyConflict { workflow, key, run, compared, differences: Vec::new() };
        Self(Box::new(Kind::KeyConflict(conflict)))
    }

    /// Adds to a key conflict where the two inputs differ.
    pub(crate) fn differing_in(mut self, differences: Vec<String>) -> Self {
        if let Kind::KeyConflict(conflict) = &mut *self.0 {
            conflict.differences = differences;
        }
        self
    }

    pub(crate) fn run_failed(run: RunId, failure: Failure, uncompensated: Vec<Uncompensated>) -> Self {
        Self(Box::new(Kind::RunFailed { run, failure, uncompensated }))
    }

    pub(crate) fn run_cancelled(
        run: RunId,
        reason: Option<String>,
        uncompensated: Vec<Uncompensated>,
    ) -> Self {
        Self(Box::new(Kind::RunCancelled { run, reason, uncompensated }))
    }

    pub(crate) fn run_terminated(run: RunId, reason: String, skipped: Vec<String>) -> Self {
        Self(Box::new(Kind::RunTerminated { run, reason, skipped }))
    }

    pub(crate) fn timed_out(run: RunId, waited: Duration, waiting_on: Option<String>) -> Self {
        Self(Box::new(Kind::TimedOut { run, waited, waiting_on }))
    }

    /// A request should have joined a transaction that only a store of type `wanted` understands.
    pub(crate) fn foreign_transaction(wanted: &'static str) -> Self {
        Self(Box::new(Kind::ForeignTransaction { wanted }))
    }

    pub(crate) fn gave_up(message: impl Into<String>) -> Self {
        Self(Box::new(Kind::GaveUp(message.into())))
    }

    /// Whether the caller's input is not valid: a name, a duration, a configuration, a history.
    pub fn is_invalid(&self) -> bool {
        matches!(*self.0, Kind::Invalid(_) | Kind::Diverged { .. })
    }

    /// The first difference between a history and the code that replayed it.
    pub fn divergence(&self) -> Option<&Divergence> {
        match &*self.0 {
            Kind::Diverged { divergence, .. } => Some(divergence),
            _ => None,
        }
    }

    /// Whether a payload could not be encoded or decoded.
    pub fn is_payload(&self) -> bool {
        matches!(*self.0, Kind::Payload(..))
    }

    /// Whether the run does not exist.
    pub fn is_unknown_run(&self) -> bool {
        matches!(*self.0, Kind::UnknownRun(_))
    }

    /// Whether the message was refused because its run is over.
    pub fn is_run_over(&self) -> bool {
        matches!(*self.0, Kind::RunOver(_))
    }

    /// Whether the key belongs to a run with another input or another digest. The text says where the inputs differ,
    /// unless no worker has begun that run yet or the start was part of a transaction. [`Error::run`] is that run.
    pub fn is_key_conflict(&self) -> bool {
        matches!(*self.0, Kind::KeyConflict(_))
    }

    /// Whether the run whose result was asked for failed.
    pub fn is_run_failed(&self) -> bool {
        matches!(*self.0, Kind::RunFailed { .. })
    }

    /// Whether the run whose result was asked for was cancelled.
    pub fn is_run_cancelled(&self) -> bool {
        matches!(*self.0, Kind::RunCancelled { .. })
    }

    /// Whether the run whose result was asked for was terminated.
    pub fn is_run_terminated(&self) -> bool {
        matches!(*self.0, Kind::RunTerminated { .. })
    }

    /// Whether the wait for a result timed out. The run continues.
    pub fn is_timeout(&self) -> bool {
        matches!(*self.0, Kind::TimedOut { .. })
    }

    /// Whether a worker gave up after repeated errors that waiting does not cure. Other workers can take over its runs;
    /// restart the process, and alert somebody.
    pub fn is_gave_up(&self) -> bool {
        matches!(*self.0, Kind::GaveUp(_))
    }

    /// Whether a request should have joined a transaction that does not belong to the client's store, such as one of
    /// PostgreSQL with a store in memory. Nothing was submitted.
    pub fn is_foreign_transaction(&self) -> bool {
        matches!(*self.0, Kind::ForeignTransaction { .. })
    }

    /// Whether the store's setup must change before the same call can succeed: its address, an option, a password, a
    /// privilege, or the server's version. The text says what to change, and never shows a password.
    pub fn is_misconfigured(&self) -> bool {
        matches!(*self.0, Kind::Store(StoreError::Misconfigured { .. }))
    }

    /// Whether the store did not answer. The same call may succeed later.
    pub fn is_unavailable(&self) -> bool {
        matches!(*self.0, Kind::Store(StoreError::Unavailable { .. }))
    }

    /// Whether another open transaction holds the key of the start. The text names the transaction if the store knows
    /// it. Repeat the start: it is answered after that transaction has ended.
    pub fn is_key_held(&self) -> bool {
        matches!(*self.0, Kind::Store(StoreError::Held { .. }))
    }

    /// The failure of the run whose result was asked for.
    pub fn failure(&self) -> Option<&Failure> {
        match &*self.0 {
            Kind::RunFailed { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// The failure of the run whose result was asked for, as a type that derives `Failure`: the first of the failure
    /// and its causes that has one of the type's stored names. `None` if there is none, or if its details cannot be
    /// read.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// #[derive(Debug, Failure)]
    /// enum OrderError {
    ///     #[failure("out-of-stock", "{missing} items are missing")]
    ///     OutOfStock { missing: u32 },
    /// }
    ///
    /// fn answer(result: Result<String, pgworkflows::Error>) -> Result<String, pgworkflows::Error> {
    ///     match result {
    ///         Err(error) => match error.typed::<OrderError>() {
    ///             Some(OrderError::OutOfStock { missing }) => Ok(format!("Please wait for {missing} items.")),
    ///             None => Err(error),
    ///         },
    ///         receipt => receipt,
    ///     }
    /// }
    /// # assert_eq!(answer(Ok("receipt".to_owned())).unwrap(), "receipt");
    /// ```
    pub fn typed<E: TypedFailure>(&self) -> Option<E> {
        self.failure()?.typed()
    }

    /// The compensations that failed after the run failed or was cancelled, in the order of their execution. What they
    /// should have undone is still in effect.
    pub fn uncompensated(&self) -> &[Uncompensated] {
        match &*self.0 {
            Kind::RunFailed { uncompensated, .. } | Kind::RunCancelled { uncompensated, .. } => uncompensated,
            _ => &[],
        }
    }

    /// The activities of the compensations that a termination skipped, in the order in which they would have run.
    pub fn skipped_compensations(&self) -> &[String] {
        match &*self.0 {
            Kind::RunTerminated { skipped, .. } => skipped,
            _ => &[],
        }
    }

    /// Why the run was cancelled or terminated, if the caller gave a reason.
    pub fn reason(&self) -> Option<&str> {
        match &*self.0 {
            Kind::RunCancelled { reason, .. } => reason.as_deref(),
            Kind::RunTerminated { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// The run that the error is about; for a key conflict, the run that owns the key.
    pub fn run(&self) -> Option<RunId> {
        match *self.0 {
            Kind::RunOver(run)
            | Kind::KeyConflict(KeyConflict { run, .. })
            | Kind::RunFailed { run, .. }
            | Kind::RunCancelled { run, .. }
            | Kind::RunTerminated { run, .. }
            | Kind::TimedOut { run, .. } => Some(run),
            Kind::Invalid(_)
            | Kind::Diverged { .. }
            | Kind::Payload(..)
            | Kind::UnknownRun(_)
            | Kind::ForeignTransaction { .. }
            | Kind::GaveUp(_)
            | Kind::Store(_) => None,
        }
    }
}

impl From<InvalidId> for Error {
    fn from(error: InvalidId) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self(Box::new(Kind::Store(error)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Invalid(message) | Kind::Diverged { message, .. } => f.write_str(message),
            Kind::Payload(what, error) => write!(f, "{what}: {error}"),
            Kind::UnknownRun(what) => {
                write!(f, "there is no run {what}: check the id, or the key and the workflow")
            }
            Kind::RunOver(run) => {
                write!(f, "run {run} is over and accepts no more messages; `describe` tells how it ended")
            }
            Kind::KeyConflict(conflict) => conflict.fmt(f),
            Kind::RunFailed { run, failure, uncompensated } => {
                write!(f, "run {run} failed: {failure}")?;
                fmt_uncompensated(f, uncompensated)
            }
            Kind::RunCancelled { run, reason, uncompensated } => {
                write!(f, "run {run} was cancelled")?;
                if let Some(reason) = reason {
                    write!(f, ": {reason}")?;
                }
                fmt_uncompensated(f, uncompensated)
            }
            Kind::RunTerminated { run, reason, skipped } => {
                write!(f, "run {run} was terminated: {reason}")?;
                for activity in skipped {
                    write!(f, "; compensation `{activity}` was left out")?;
                }
                Ok(())
            }
            Kind::TimedOut { run, waited, waiting_on } => {
                write!(f, "run {run} was not over after {waited:?}")?;
                waiting_on.iter().try_for_each(|on| write!(f, ", and waits on {on}"))?;
                f.write_str("; it continues, and `result` may be called again")
            }
            Kind::ForeignTransaction { wanted } => write!(
                f,
                "the client's store is not a `{wanted}`, so its requests cannot join this transaction: create the \
                 client with the store of the transaction's database, or await the request outside of the transaction"
            ),
            Kind::GaveUp(why) => f.write_str(why),
            Kind::Store(error) => error.fmt(f),
        }
    }
}

/// How many differences between two inputs the text shows.
const DIFFERENCES_SHOWN: usize = 5;

impl fmt::Display for KeyConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workflow, key, run, compared, differences } = self;
        write!(
            f,
            "run {run} of workflow `{workflow}` was started under the key `{key}` with another {compared}"
        )?;
        if let [first, others @ ..] = &differences[..] {
            write!(f, ", which differs in {first}")?;
            others.iter().take(DIFFERENCES_SHOWN - 1).try_for_each(|place| write!(f, ", {place}"))?;
            match others.len().saturating_sub(DIFFERENCES_SHOWN - 1) {
                0 => {}
                more => write!(f, " and {more} more")?,
            }
        }
        f.write_str("; use another key for another start, or `key_only` where the key alone is to count")
    }
}

fn fmt_uncompensated(f: &mut fmt::Formatter<'_>, uncompensated: &[Uncompensated]) -> fmt::Result {
    for Uncompensated { activity, failure } in uncompensated {
        write!(f, "; compensation `{activity}` failed as well: {failure}")?;
    }
    Ok(())
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Kind::Payload(_, error) => Some(error),
            Kind::RunFailed { failure, .. } => Some(failure),
            Kind::Store(error) => error.source(),
            _ => None,
        }
    }
}
