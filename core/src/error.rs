//! The error that users see: one opaque type with predicates. No error of a database is visible in it.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub use crate::data::divergence::Divergence;
pub use crate::data::failure::Failure;
use crate::data::id::{InvalidId, RunId};
use crate::data::limits;
use crate::data::name::Name;
pub use crate::data::outcome::Uncompensated;
use crate::data::payload::PayloadError;
use crate::data::time::Timestamp;
pub use crate::data::typed_failure::TypedFailure;
use crate::store::error::StoreError;

/// The error of clients and workers. Its text names the thing, the value, the limit and what to do; its predicates and
/// [`Error::kind`] tell its kind.
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

enum Kind {
    Invalid(String),
    Diverged {
        message: String,
        divergence: Divergence,
    },
    Payload(String, PayloadError),
    UnknownRun(String),
    RunOver(RunId),
    KeyConflict(KeyConflict),
    RunFailed {
        run: RunId,
        failure: Failure,
        uncompensated: Vec<Uncompensated>,
    },
    RunCancelled {
        run: RunId,
        reason: Option<String>,
        uncompensated: Vec<Uncompensated>,
    },
    RunTerminated {
        run: RunId,
        reason: String,
        skipped: Vec<String>,
    },
    RunTimedOut(Box<TimedOutRun>),
    TimedOut {
        run: RunId,
        waited: Duration,
        waiting_on: Option<String>,
    },
    UpdateRefused {
        run: RunId,
        update: String,
        why: String,
    },
    /// `ended` if no reply was there when the run was over.
    UpdateDropped {
        run: RunId,
        update: String,
        ended: bool,
    },
    TooManyUpdates {
        run: RunId,
        update: String,
    },
    Unanswered(Unanswered),
    ForeignTransaction {
        wanted: &'static str,
    },
    GaveUp(String),
    Store(StoreError),
}

/// A wait for the answer to an update that timed out.
struct Unanswered {
    run: RunId,
    update: String,
    key: Option<String>,
    waited: Duration,
    is_accepted: bool,
    waiting_on: Option<String>,
}

struct TimedOutRun {
    run: RunId,
    deadline: Timestamp,
    /// When it was ended, if that was without its code.
    grace_until: Option<Timestamp>,
    uncompensated: Vec<Uncompensated>,
    skipped: Vec<String>,
}

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

    pub(crate) fn run_timed_out(
        run: RunId,
        deadline: Timestamp,
        grace_until: Option<Timestamp>,
        uncompensated: Vec<Uncompensated>,
        skipped: Vec<String>,
    ) -> Self {
        let run = TimedOutRun { run, deadline, grace_until, uncompensated, skipped };
        Self(Box::new(Kind::RunTimedOut(Box::new(run))))
    }

    pub(crate) fn timed_out(run: RunId, waited: Duration, waiting_on: Option<String>) -> Self {
        Self(Box::new(Kind::TimedOut { run, waited, waiting_on }))
    }

    pub(crate) fn update_refused(run: RunId, update: &str, why: String) -> Self {
        Self(Box::new(Kind::UpdateRefused { run, update: update.to_owned(), why }))
    }

    pub(crate) fn update_dropped(run: RunId, update: &str, ended: bool) -> Self {
        Self(Box::new(Kind::UpdateDropped { run, update: update.to_owned(), ended }))
    }

    pub(crate) fn too_many_updates(run: RunId, update: &str) -> Self {
        Self(Box::new(Kind::TooManyUpdates { run, update: update.to_owned() }))
    }

    /// The wait for an answer timed out, given whether the update was accepted, and what its run waits on.
    pub(crate) fn unanswered(
        run: RunId,
        update: &str,
        key: Option<&str>,
        waited: Duration,
        (is_accepted, waiting_on): (bool, Option<String>),
    ) -> Self {
        let (update, key) = (update.to_owned(), key.map(str::to_owned));
        Self(Box::new(Kind::Unanswered(Unanswered { run, update, key, waited, is_accepted, waiting_on })))
    }

    /// A request should have joined a transaction that only a store of type `wanted` understands.
    pub(crate) fn foreign_transaction(wanted: &'static str) -> Self {
        Self(Box::new(Kind::ForeignTransaction { wanted }))
    }

    pub(crate) fn gave_up(message: impl Into<String>) -> Self {
        Self(Box::new(Kind::GaveUp(message.into())))
    }

    /// The error's kind, for code that treats several kinds: a web handler that chooses a status, a metric, a retry. For a
    /// single one, there is a predicate.
    ///
    /// ```
    /// use pgworkflows::error::{Error, ErrorKind};
    ///
    /// /// The HTTP status of a handler that calls a client.
    /// fn status(error: &Error) -> u16 {
    ///     match error.kind() {
    ///         ErrorKind::Invalid | ErrorKind::Payload => 400,
    ///         ErrorKind::UnknownRun => 404,
    ///         ErrorKind::RunOver | ErrorKind::KeyConflict => 409,
    ///         ErrorKind::Unavailable | ErrorKind::KeyHeld => 503,
    ///         ErrorKind::TimedOut => 504,
    ///         _ => 500,
    ///     }
    /// }
    ///
    /// let error = Error::from("42".parse::<pgworkflows::RunId>().unwrap_err());
    /// assert_eq!((status(&error), error.kind().name()), (400, "invalid"));
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Kind::Invalid(_) => ErrorKind::Invalid,
            Kind::Diverged { .. } => ErrorKind::Diverged,
            Kind::Payload(..) => ErrorKind::Payload,
            Kind::UnknownRun(_) => ErrorKind::UnknownRun,
            Kind::RunOver(_) => ErrorKind::RunOver,
            Kind::KeyConflict(_) => ErrorKind::KeyConflict,
            Kind::RunFailed { .. } => ErrorKind::RunFailed,
            Kind::RunCancelled { .. } => ErrorKind::RunCancelled,
            Kind::RunTerminated { .. } => ErrorKind::RunTerminated,
            Kind::RunTimedOut(_) => ErrorKind::RunTimedOut,
            Kind::TimedOut { .. } | Kind::Unanswered(_) => ErrorKind::TimedOut,
            Kind::UpdateRefused { .. } => ErrorKind::UpdateRefused,
            Kind::UpdateDropped { .. } => ErrorKind::UpdateDropped,
            Kind::TooManyUpdates { .. } => ErrorKind::TooManyUpdates,
            Kind::ForeignTransaction { .. } => ErrorKind::ForeignTransaction,
            Kind::GaveUp(_) => ErrorKind::GaveUp,
            Kind::Store(error) => match error {
                StoreError::Held { .. } => ErrorKind::KeyHeld,
                StoreError::Unavailable { .. } => ErrorKind::Unavailable,
                StoreError::Misconfigured { .. } => ErrorKind::Misconfigured,
                StoreError::LimitExceeded { .. } => ErrorKind::Refused,
                StoreError::Fenced { .. } | StoreError::Conflict { .. } | StoreError::Corrupt { .. } => {
                    ErrorKind::Corrupt
                }
            },
        }
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

    /// Whether the run whose result was asked for was not over at its deadline.
    pub fn is_run_timed_out(&self) -> bool {
        matches!(*self.0, Kind::RunTimedOut(_))
    }

    /// Whether the wait for a result, or for the answer to an update, timed out. The run continues, and keeps the update.
    pub fn is_timeout(&self) -> bool {
        matches!(*self.0, Kind::TimedOut { .. } | Kind::Unanswered(_))
    }

    /// Whether the check of an update refused the request, here or at the run's owner. The run was told nothing.
    pub fn is_update_refused(&self) -> bool {
        matches!(*self.0, Kind::UpdateRefused { .. })
    }

    /// Whether the run ended before it answered an update, or dropped it. It may have acted on it.
    pub fn is_update_dropped(&self) -> bool {
        matches!(*self.0, Kind::UpdateDropped { .. })
    }

    /// Whether the run accepts no update now, because too many of them have no answer. It was told nothing.
    pub fn is_too_many_updates(&self) -> bool {
        matches!(*self.0, Kind::TooManyUpdates { .. })
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
            Kind::RunTimedOut(run) => &run.uncompensated,
            _ => &[],
        }
    }

    /// The activities of the compensations that a termination, or the end of a grace, skipped, in the order in which they would have run.
    pub fn skipped_compensations(&self) -> &[String] {
        match &*self.0 {
            Kind::RunTerminated { skipped, .. } => skipped,
            Kind::RunTimedOut(run) => &run.skipped,
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
            | Kind::TimedOut { run, .. }
            | Kind::UpdateRefused { run, .. }
            | Kind::UpdateDropped { run, .. }
            | Kind::TooManyUpdates { run, .. }
            | Kind::Unanswered(Unanswered { run, .. }) => Some(run),
            Kind::RunTimedOut(ref timed_out) => Some(timed_out.run),
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

/// Defines [`ErrorKind`] with the names of its kinds.
macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// The kind of an [`Error`]. Later versions may add kinds: give a `match` a `_` arm, which treats them as an error that
        /// the caller cannot mend. See [`Error::kind`] for an example.
        ///
        /// Its name, such as `unknown-run`, is what serde and `Display` write. Names do not change, so that alerts and
        /// other programs may compare them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name of the kind, such as `unknown-run`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

error_kinds! {
    /// [`Error::is_invalid`]: the caller's input is not valid. Repeating the call does not help.
    Invalid = "invalid",
    /// [`Error::divergence`]: the code that replayed a history does not follow it.
    Diverged = "diverged",
    /// [`Error::is_payload`]: a payload could not be encoded or decoded.
    Payload = "payload",
    /// [`Error::is_unknown_run`]: the run does not exist.
    UnknownRun = "unknown-run",
    /// [`Error::is_run_over`]: the run accepts no more messages.
    RunOver = "run-over",
    /// [`Error::is_key_conflict`]: the key belongs to a run with another input.
    KeyConflict = "key-conflict",
    /// [`Error::is_key_held`]: an open transaction holds the key. Repeat the call later.
    KeyHeld = "key-held",
    /// [`Error::is_run_failed`]: the run whose result was asked for failed.
    RunFailed = "run-failed",
    /// [`Error::is_run_cancelled`]: the run whose result was asked for was cancelled.
    RunCancelled = "run-cancelled",
    /// [`Error::is_run_terminated`]: the run whose result was asked for was terminated.
    RunTerminated = "run-terminated",
    /// [`Error::is_run_timed_out`]: the run whose result was asked for was not over at its deadline.
    RunTimedOut = "run-timed-out",
    /// [`Error::is_timeout`]: the run was not over in time. It continues.
    TimedOut = "timed-out",
    /// [`Error::is_update_refused`]: the check of an update refused the request.
    UpdateRefused = "update-refused",
    /// [`Error::is_update_dropped`]: the run ended before it answered an update, or dropped it.
    UpdateDropped = "update-dropped",
    /// [`Error::is_too_many_updates`]: too many updates of the run have no answer. Ask again later.
    TooManyUpdates = "too-many-updates",
    /// [`Error::is_foreign_transaction`]: a request should have joined a transaction of another store.
    ForeignTransaction = "foreign-transaction",
    /// [`Error::is_gave_up`]: a worker gave up after repeated errors.
    GaveUp = "gave-up",
    /// [`Error::is_misconfigured`]: the store's setup must change.
    Misconfigured = "misconfigured",
    /// [`Error::is_unavailable`]: the store did not answer. The same call may succeed later.
    Unavailable = "unavailable",
    /// The store refuses this content, and would refuse it again. Nothing was written.
    Refused = "refused",
    /// The store holds or answers what it should not: a damaged event, or one of a newer build. Somebody has to look at it.
    Corrupt = "corrupt",
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
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
            Kind::UpdateRefused { run, update, why } => {
                write!(f, "update `{update}` of run {run} was refused: {why}")
            }
            Kind::UpdateDropped { run, update, ended: false } => {
                write!(f, "run {run} dropped update `{update}` without an answer")
            }
            Kind::UpdateDropped { run, update, ended: true } => write!(
                f,
                "run {run} ended without an answer to update `{update}`, on which it may have acted; `describe` tells how it ended"
            ),
            Kind::TooManyUpdates { run, update } => write!(
                f,
                "update `{update}` was refused, because run {run} has {} updates without an answer, or {} bytes of their \
                 requests, and accepts no more; ask again later, with another key",
                limits::UPDATES_OPEN_MAX,
                limits::UPDATES_OPEN_BYTES_MAX
            ),
            Kind::Unanswered(unanswered) => unanswered.fmt(f),
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
            Kind::RunTimedOut(timed_out) => {
                let TimedOutRun { run, deadline, grace_until, uncompensated, skipped } = &**timed_out;
                write!(f, "run {run} was not over at its deadline, {deadline}")?;
                match grace_until {
                    Some(until) => write!(f, ", nor when its grace ended, {until}")?,
                    None => f.write_str(", and was cancelled")?,
                }
                fmt_uncompensated(f, uncompensated)?;
                skipped.iter().try_for_each(|left| write!(f, "; compensation `{left}` was left out"))
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

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, update, key, waited, is_accepted, waiting_on } = self;
        if !is_accepted {
            return write!(
                f,
                "the store did not say within {waited:?} whether run {run} accepted update `{update}`; it is safe to ask again \
                 with the same key"
            );
        }
        write!(f, "run {run} accepted update `{update}`, and has not answered within {waited:?}; it ")?;
        match waiting_on {
            Some(waiting_on) => write!(f, "waits on {waiting_on}")?,
            None => f.write_str("is running")?,
        }
        f.write_str(". Nothing was withdrawn: ")?;
        match key {
            Some(key) => write!(f, "ask again with key `{key}`"),
            None => f.write_str("an update with a key finds its answer when it is asked again"),
        }
    }
}

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

/// Writes the kind and the message for people, because this is what a program prints whose `main` returns the error. Its causes
/// follow, unless the message names them already.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !shown.contains(&text) {
                shown.push_str("; the cause: ");
                shown.push_str(&text);
            }
            source = cause.source();
        }
        write!(f, "{}: {shown}", self.kind())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_id;

    #[test]
    fn every_kind_has_a_name_of_its_own_which_serde_writes() {
        let mut names: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        for kind in ErrorKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.to_string(), kind.name());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn program_that_ends_with_an_error_shows_it_for_people() {
        let refused = Error::from(StoreError::misconfigured("the address is empty; use `memory:`"));
        let text = format!("{refused:?}");
        assert!(
            text.starts_with("misconfigured: ") && text.ends_with("the address is empty; use `memory:`"),
            "{text}"
        );
        let lost = |reason: &str| {
            let source = Some("connection reset".into());
            Error::from(StoreError::Unavailable { reason: reason.to_owned(), definite: false, source })
        };
        let text = format!("{:?}", lost("the database did not answer"));
        assert!(
            text.starts_with("unavailable: ") && text.ends_with("; the cause: connection reset"),
            "{text}"
        );
        assert_eq!(
            format!("{:?}", lost("no answer: connection reset")).matches("connection reset").count(),
            1
        );
    }

    #[test]
    fn kind_agrees_with_the_predicates() {
        let run = run_id(1);
        for (error, kind, predicate) in [
            (Error::invalid("x"), ErrorKind::Invalid, Error::is_invalid as fn(&Error) -> bool),
            (Error::unknown_run("x"), ErrorKind::UnknownRun, Error::is_unknown_run),
            (Error::run_over(run), ErrorKind::RunOver, Error::is_run_over),
            (Error::gave_up("x"), ErrorKind::GaveUp, Error::is_gave_up),
            (Error::timed_out(run, Duration::ZERO, None), ErrorKind::TimedOut, Error::is_timeout),
            (
                Error::run_terminated(run, String::new(), Vec::new()),
                ErrorKind::RunTerminated,
                Error::is_run_terminated,
            ),
            (
                Error::run_timed_out(run, Timestamp::MIN, None, Vec::new(), Vec::new()),
                ErrorKind::RunTimedOut,
                Error::is_run_timed_out,
            ),
            (StoreError::unavailable("x").into(), ErrorKind::Unavailable, Error::is_unavailable),
            (StoreError::held("x").into(), ErrorKind::KeyHeld, Error::is_key_held),
            (StoreError::misconfigured("x").into(), ErrorKind::Misconfigured, Error::is_misconfigured),
        ] {
            assert!(error.kind() == kind && predicate(&error), "{error}");
        }
        assert_eq!(Error::from(StoreError::fenced("x")).kind(), ErrorKind::Corrupt);
    }
}
