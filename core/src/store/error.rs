//! What can go wrong at the store seam: a closed list, so that a caller handles each.

use std::fmt;

/// An error of a store.
#[derive(Debug)]
pub enum StoreError {
    /// The caller's right to write is gone: it must throw away what it remembers.
    Fenced {
        /// What the store found.
        reason: String,
    },
    /// The request contradicts what the store holds.
    Conflict {
        /// What the store found.
        reason: String,
    },
    /// The store did not do it, or did not answer: try again.
    Unavailable {
        /// What happened.
        reason: String,
        /// Whether the store itself said so, and this try wrote nothing. If not, its outcome is unknown: a lost
        /// connection or a timeout says nothing about what was sent before it.
        definite: bool,
        /// The error beneath, where there is one.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Somebody's open transaction holds what the request needs, such as the key of a start: nothing was submitted, and
    /// the same request is answered when that transaction has ended.
    Held {
        /// What is held, by whom, and since when.
        reason: String,
    },
    /// The store holds, or answers, something that cannot be: a person has to look.
    Corrupt {
        /// What was found, where, and what to do.
        reason: String,
    },
    /// The store is not set up as it must be: a person has to change something, then the same request succeeds.
    Misconfigured {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The store refuses this content, and would again.
    LimitExceeded {
        /// The thing, its value and the limit.
        reason: String,
    },
}

impl StoreError {
    /// The same error for one more of those who wait for an answer, without the error beneath.
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

    /// A [`StoreError::Unavailable`] whose outcome is unknown, without an error beneath.
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
            Self::Corrupt { reason } => write!(f, "the store holds what cannot be: {reason}"),
            Self::Misconfigured { reason } => write!(f, "the store cannot be used as it is: {reason}"),
            Self::LimitExceeded { reason } => write!(f, "refused by the store: {reason}"),
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
