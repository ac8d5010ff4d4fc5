//! The words for the statuses of runs: in logs, in JSON, on the command line, and in the view `runs` of PostgreSQL. It must not
//! know how a store keeps a status.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::client::info::RunStatus;
use crate::error::Error;

impl RunStatus {
    /// All statuses, those of open runs first: to offer them as a choice, say.
    pub const ALL: &'static [Self] = &[
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Stalled,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Terminated,
        Self::Continued,
        Self::Retried,
        Self::TimedOut,
    ];

    /// The word for the status, such as `timed-out`. JSON, SQL and the command line have the same word, and `parse` reads it.
    ///
    /// ```
    /// use pgworkflows::client::RunStatus;
    ///
    /// assert_eq!(RunStatus::TimedOut.name(), "timed-out");
    /// assert_eq!(format!("it is {}", RunStatus::Waiting), "it is waiting");
    /// assert_eq!("failed".parse::<RunStatus>()?, RunStatus::Failed);
    /// let unknown = "failing".parse::<RunStatus>().unwrap_err();
    /// assert!(unknown.to_string().starts_with("there is no status `failing`: there are pending, running, "));
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Stalled => "stalled",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Terminated => "terminated",
            Self::Continued => "continued",
            Self::Retried => "retried",
            Self::TimedOut => "timed-out",
        }
    }
}

/// Writes [`RunStatus::name`].
impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Reads [`RunStatus::name`]. See there for an example.
///
/// # Errors
/// [`Error::is_invalid`] if no status has this name. The error lists them.
impl FromStr for RunStatus {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        Self::ALL.iter().copied().find(|status| status.name() == word).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|status| status.name()).collect();
            Error::invalid(format!("there is no status `{word}`: there are {}", all.join(", ")))
        })
    }
}

impl Serialize for RunStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_of_every_status_is_read_again_and_is_its_json() {
        let open = RunStatus::ALL.iter().take_while(|status| !status.is_over()).count();
        assert!(RunStatus::ALL[open..].iter().all(|status| status.is_over()));
        for status in RunStatus::ALL {
            assert_eq!(status.to_string().parse::<RunStatus>().unwrap(), *status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
        assert!("Failed".parse::<RunStatus>().unwrap_err().is_invalid());
        assert_eq!(format!("{:<8}|", RunStatus::Failed), "failed  |");
    }
}
