//! Failures as data: what the log keeps of an error, so that every process can tell it apart.

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::payload::Payload;

/// The type name of an error whose type is not to be had.
pub(crate) const UNNAMED: &str = "error";

/// What is known of an error after it was recorded: its type, its message, whether trying again may help,
/// its causes and, where its author gave any, typed details.
///
/// Wherever a failure is shown, its type follows its message in parentheses, and so do those of its causes:
///
/// ```
/// let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
/// let failure = pgworkflows::error::Failure::from_error(&denied);
/// assert_eq!(failure.to_string(), "permission denied (std::io::error::Error)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// The error's type: the name that its author chose, or the path of the Rust type, as
    /// [`std::any::type_name`] gives it: that of the module in which the type is defined. It is `error` where the type is
    /// not known, as it is for a `dyn Error`.
    pub type_name: String,
    /// What it says.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// What it was caused by.
    pub cause: Option<Box<Failure>>,
    /// Data that the author attached for callers.
    pub details: Option<Payload>,
}

impl Failure {
    /// A retryable failure of that type.
    pub fn new(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            type_name: type_name.into(),
            message: message.into(),
            retryable: true,
            cause: None,
            details: None,
        }
    }

    /// The failure that an error is recorded as, its sources as causes.
    pub fn from_error<E: StdError + ?Sized>(error: &E) -> Self {
        let mut failure = Self::new(std::any::type_name::<E>(), error.to_string());
        failure.cause = error.source().map(|source| Box::new(Self::from_source(source, 0)));
        failure
    }

    /// Sources are `dyn Error`: their types are not known, except for failures that were recorded before. Long
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

    /// The same failure, which another attempt will not cure.
    #[must_use]
    pub fn non_retryable(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// Attaches details. The failure itself matters more than they: without them, its message says why.
    pub(crate) fn attach<T: Serialize>(&mut self, details: &T) {
        match Payload::encode(details) {
            Ok(payload) => self.details = Some(payload),
            Err(error) => self.message = format!("{} (its details are lost: {error})", self.message),
        }
    }

    /// The failure as it is recorded: a text, a chain of causes and details that nobody would store are cut, and
    /// the message says so.
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

    /// Whether this failure, or one that caused it, is of that type.
    pub fn is(&self, type_name: &str) -> bool {
        self.type_name == type_name || self.cause.as_ref().is_some_and(|cause| cause.is(type_name))
    }

    /// The details as a value; `None` if there are none, or none of this type.
    pub fn details<T: DeserializeOwned>(&self) -> Option<T> {
        self.details.as_ref()?.decode().ok()
    }
}

/// So that a failure which was recorded before can be passed on as it is, by [`OrFail::or_fail`](crate::workflow::error::OrFail::or_fail).
impl AsRef<dyn StdError + Send + Sync> for Failure {
    fn as_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }
}

impl fmt::Display for Failure {
    /// The message and those of its causes, each with its type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut link = Some(self);
        while let Some(failure) = link {
            f.write_str(&failure.message)?;
            if failure.type_name != UNNAMED {
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
        match &self.details {
            Some(details) => write!(f, " {details:?}"),
            None => Ok(()),
        }
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}
