//! Failures as data: what the log keeps of an error, so that every process can recognise it. They must not know what
//! failed.

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::payload::{Payload, PayloadError};

/// The type name of an error whose type is not known.
pub(crate) const UNNAMED: &str = "error";

/// The type name of the failure that a failed activity, step or child causes in its workflow. Its message says so in words.
pub(crate) const CALL_FAILED: &str = "call-failed";

/// An error as the log records it: its type, its message, whether a retry may succeed, its causes and, if its author
/// attached any, typed details.
///
/// A failure is shown as its message, followed by its type in parentheses, and its causes likewise. The type `call-failed` is left
/// out, which says no more than its message, ``activity `charge` failed``:
///
/// ```
/// let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
/// let failure = pgworkflows::error::Failure::from_error(&denied);
/// assert_eq!(failure.to_string(), "permission denied (std::io::error::Error)");
/// ```
///
/// As JSON it has the fields `type`, `message`, `retryable` and, if there are any, `cause` and `details`.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The error's type: the name that its author chose, or the path of the Rust type as [`std::any::type_name`] returns
    /// it, which names the module that defines the type. It is `error` if the type is not known, as for a `dyn Error`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The error's message. The log keeps 10,000 characters of it.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// The error that caused this one. The log keeps 8 causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Failure>>,
    /// Data that the error's author attached for callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Payload>,
}

impl Failure {
    /// A retryable failure without a cause or details.
    ///
    /// ```
    /// use pgworkflows::error::Failure;
    ///
    /// let declined = Failure::new("card-declined", "the bank said no").non_retryable();
    /// assert!(declined.is("card-declined") && !declined.retryable);
    /// ```
    pub fn new(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            type_name: type_name.into(),
            message: message.into(),
            retryable: true,
            cause: None,
            details: None,
        }
    }

    /// Makes a retryable failure of an error; the error's sources become its causes.
    pub fn from_error<E: StdError + ?Sized>(error: &E) -> Self {
        let mut failure = Self::new(std::any::type_name::<E>(), error.to_string());
        failure.cause = error.source().map(|source| Box::new(Self::from_source(source, 0)));
        failure
    }

    /// Sources are `dyn Error`, so their types are not known, except for failures that were recorded before. Long
    /// chains are cut.
    pub(crate) fn from_source(error: &(dyn StdError + 'static), depth: usize) -> Self {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return failure.clone();
        }
        let mut failure = Self::new(UNNAMED, error.to_string());
        if depth < crate::data::limits::FAILURE_CAUSES_MAX {
            failure.cause = error.source().map(|source| Box::new(Self::from_source(source, depth + 1)));
        }
        failure
    }

    /// Marks the failure as final: no retry follows it.
    #[must_use]
    pub fn non_retryable(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// Attaches details, as [`WorkflowError::with_details`](crate::workflow::error::WorkflowError::with_details) does.
    #[must_use]
    pub fn with_details<T: Serialize>(mut self, details: &T) -> Self {
        self.attach(details);
        self
    }

    /// Attaches details. If they cannot be encoded, the failure is kept without them and its message says why.
    pub(crate) fn attach<T: Serialize>(&mut self, details: &T) {
        match Payload::encode(details) {
            Ok(payload) => self.details = Some(payload),
            Err(error) => self.message = format!("{} (its details are lost: {error})", self.message),
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.message.len() + self.details.as_ref().map_or(0, |details| details.bytes().len())
    }

    /// The failure as it is recorded: overlong texts, chains of causes and details are cut, and the message says so.
    pub(crate) fn bounded(mut self, details_bytes_max: usize) -> Self {
        let mut failure = Some(&mut self);
        let mut depth = 0;
        while let Some(link) = failure {
            for text in [&mut link.message, &mut link.type_name] {
                if let Some((cut, _)) = text.char_indices().nth(crate::data::limits::FAILURE_TEXT_CHARS_MAX) {
                    text.truncate(cut);
                    text.push_str("… (cut)");
                }
            }
            depth += 1;
            if depth > crate::data::limits::FAILURE_CAUSES_MAX {
                link.cause = None;
            }
            failure = link.cause.as_deref_mut();
        }
        if let Some(details) = self.details.take_if(|details| details.bytes().len() > details_bytes_max) {
            let bytes = details.bytes().len();
            self.message = format!(
                "{} (its details are left out: they have {bytes} bytes, and the limit is {details_bytes_max})",
                self.message
            );
        }
        self
    }

    /// Whether this failure or one of its causes has this type name.
    pub fn is(&self, type_name: &str) -> bool {
        self.type_name == type_name || self.cause.as_ref().is_some_and(|cause| cause.is(type_name))
    }

    /// What failed in the first place: the first of this failure and its causes that is no `call-failed`. A workflow that passes on
    /// the failure of an activity fails with `call-failed`; its origin has the name that the activity's author gave.
    ///
    /// ```
    /// use pgworkflows::error::Failure;
    ///
    /// let mut failure = Failure::new("call-failed", "activity `charge` failed");
    /// failure.cause = Some(Box::new(Failure::new("card-declined", "the bank said no")));
    /// assert_eq!(failure.origin().type_name, "card-declined");
    /// assert_eq!(failure.to_string(), "activity `charge` failed: the bank said no (card-declined)");
    /// ```
    pub fn origin(&self) -> &Self {
        let mut origin = self;
        while origin.type_name == CALL_FAILED
            && let Some(cause) = &origin.cause
        {
            origin = cause;
        }
        origin
    }

    /// The details as a value; `None` if there are none, or if they cannot be decoded as a `T`.
    pub fn details<T: DeserializeOwned>(&self) -> Option<T> {
        self.read_details().ok()
    }

    /// The details as a value.
    ///
    /// # Errors
    /// Returns an error with the path of the field if there are no details, or if they are not a `T`.
    pub fn read_details<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        match &self.details {
            Some(details) => details.decode(),
            None => Err(PayloadError::missing(format!("a failure `{}` has no details", self.type_name))),
        }
    }
}

/// Lets [`OrFail::or_fail`](crate::workflow::error::OrFail::or_fail) pass on a recorded failure unchanged.
impl AsRef<dyn StdError + Send + Sync> for Failure {
    fn as_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }
}

impl fmt::Display for Failure {
    /// Writes the message and the messages of its causes, each with its type, unless that says nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut link = Some(self);
        while let Some(failure) = link {
            f.write_str(&failure.message)?;
            if failure.type_name != UNNAMED && failure.type_name != CALL_FAILED {
                write!(f, " ({})", failure.type_name)?;
            }
            link = failure.cause.as_deref();
            f.write_str(if link.is_some() { ": " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if !self.retryable {
            f.write_str(" (not retryable)")?;
        }
        // Code that unwraps an error puts this into a panic's message, and so into logs, where no payload may be.
        if self.details.is_some() { f.write_str(" (with details)") } else { Ok(()) }
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}
