//! What can go wrong at the store seam: a closed list, so that callers handle every case. It must not know any database.

use std::fmt;

/// An error of a store.
#[derive(Debug)]
pub enum StoreError {
    /// The caller lost its lease, and must drop all state that it built under it.
    Fenced {
        /// What the store found.
        reason: String,
    },
    /// The request contradicts what the store holds.
    Conflict {
        /// What the store found.
        reason: String,
    },
    /// The store did not execute the request, or did not answer: retry it.
    Unavailable {
        /// What happened.
        reason: String,
        /// Whether the store itself reported the error, so that this attempt wrote nothing. Otherwise its outcome is
        /// unknown: after a lost connection or a timeout, the request may have been executed.
        definite: bool,
        /// The underlying error, if there is one.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Another open transaction holds what the request needs, such as the key of a start. Nothing was submitted; the
    /// same request is answered after that transaction has ended.
    Held {
        /// What is held, by which transaction, and since when.
        reason: String,
    },
    /// The store holds or returns corrupt data: a person has to look at it.
    Corrupt {
        /// What was found, where, and what to do.
        reason: String,
    },
    /// The store's setup is wrong: a person has to change it, then the same request succeeds.
    Misconfigured {
        /// The problem, and what to do.
        reason: String,
    },
    /// The store refuses this content, and would refuse it again.
    LimitExceeded {
        /// The thing, its value and the limit.
        reason: String,
    },
}

impl StoreError {
    /// A copy of the error for another caller that waits for the same answer, without the underlying error.
    pub(crate) fn repeated(&self) -> Self {
        match self {
            Self::Fenced { reason } => Self::fenced(reason),
            Self::Conflict { reason } => Self::conflict(reason),
            Self::Unavailable { reason, .. } => Self::unavailable(reason),
            Self::Held { reason } => Self::held(reason),
            Self::Corrupt { reason } => Self::corrupt(reason),
            Self::Misconfigured { reason } => Self::misconfigured(reason),
            Self::LimitExceeded { reason } => Self::limit_exceeded(reason),
        }
    }

    /// A [`StoreError::Fenced`].
    pub fn fenced(reason: impl Into<String>) -> Self {
        Self::Fenced { reason: reason.into() }
    }

    /// A [`StoreError::Conflict`].
    pub fn conflict(reason: impl Into<String>) -> Self {
        Self::Conflict { reason: reason.into() }
    }

    /// A [`StoreError::Unavailable`] with an unknown outcome and no underlying error.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), definite: false, source: None }
    }

    /// A [`StoreError::Held`].
    pub fn held(reason: impl Into<String>) -> Self {
        Self::Held { reason: reason.into() }
    }

    /// A [`StoreError::Corrupt`].
    pub fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt { reason: reason.into() }
    }

    /// A [`StoreError::Misconfigured`].
    pub fn misconfigured(reason: impl Into<String>) -> Self {
        Self::Misconfigured { reason: reason.into() }
    }

    /// A [`StoreError::LimitExceeded`].
    pub fn limit_exceeded(reason: impl Into<String>) -> Self {
        Self::LimitExceeded { reason: reason.into() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced { reason } => write!(f, "fenced: {reason}"),
            Self::Conflict { reason } => write!(f, "conflict: {reason}"),
            Self::Unavailable { reason, .. } => write!(f, "the store is unavailable: {reason}"),
            Self::Held { reason } => f.write_str(reason),
            Self::Corrupt { reason } => write!(f, "the store holds corrupt data: {reason}"),
            Self::Misconfigured { reason } => write!(f, "the store cannot be used as it is: {reason}"),
            Self::LimitExceeded { reason } => write!(f, "the store refused it: {reason}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable { source: Some(source), .. } => Some(source.as_ref()),
            Self::Unavailable { .. }
            | Self::Fenced { .. }
            | Self::Conflict { .. }
            | Self::Held { .. }
            | Self::Corrupt { .. }
            | Self::Misconfigured { .. }
            | Self::LimitExceeded { .. } => None,
        }
    }
}
