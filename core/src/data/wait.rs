//! What an open run waits for, as data: for web handlers, tools and SQL. It must not know how a run waits.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::data::id::RunId;
use crate::data::time::Timestamp;

/// Something that a run waits for.
///
/// As JSON, and so in SQL (the column `waits` of the view `runs`), a wait has its `kind` and its fields; those without a value
/// are left out. Later versions may add kinds and fields.
///
/// ```
/// use pgworkflows::client::Wait;
///
/// let wait: Wait = serde_json::from_str(
///     r#"{"kind": "activity", "name": "charge", "attempt": 3, "last_failure": "the bank is down (io)",
///         "again_at": "2026-01-01T12:00:00Z", "source": "src/order.rs:12:10"}"#,
/// )?;
/// assert!(wait.to_string().starts_with("activity `charge` (attempt 3 begins at 2026-01-01T12:00:00"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Wait {
    /// A signal with this name.
    #[non_exhaustive]
    Signal {
        /// The signal's name.
        name: String,
        /// The line of the workflow's code that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// An update with this name.
    #[non_exhaustive]
    Update {
        /// The update's name.
        name: String,
        /// The line of the workflow's code that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// A condition of the run's own state, which a handler may make true.
    #[non_exhaustive]
    Condition {
        /// The line of the workflow's code that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// A point in time.
    #[non_exhaustive]
    Timer {
        /// The timer's deadline, by the store's clock.
        until: DateTime<Utc>,
        /// The line of the workflow's code that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// The outcome of an activity.
    #[non_exhaustive]
    Activity {
        /// The activity's name.
        name: String,
        /// The number of the attempt that is under way or comes next, from 1 on.
        attempt: u32,
        /// The activity queue, if the attempt is a task that waits for one of its workers or is executed there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// How the attempt before failed, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_failure: Option<String>,
        /// When the attempt begins, if it is in back-off. [`RunHandle::retry_now`](crate::client::handle::RunHandle::retry_now)
        /// has it begin at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again_at: Option<DateTime<Utc>>,
        /// Whether it compensates for another one, after the workflow failed or was cancelled.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        compensation: bool,
        /// The line of the workflow's code that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// The outcome of a step, which the run's worker executes.
    #[non_exhaustive]
    Step {
        /// The step's name.
        name: String,
        /// The line of the workflow's code that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// A permit of a mutex or a semaphore, which other branches of the run have.
    #[non_exhaustive]
    Permit {
        /// `mutex` or `semaphore`.
        of: String,
        /// The name of the mutex or semaphore.
        name: String,
        /// The line of the workflow's code that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// The outcome of a child.
    #[non_exhaustive]
    Child {
        /// The name of the child's workflow.
        workflow: String,
        /// The child.
        run: RunId,
        /// Whether the child, which has a key, is still to be started.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        starting: bool,
        /// The line of the workflow's code that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// A client, which paused the run and is to [`resume`](crate::client::handle::RunHandle::resume) it. What follows in the list is
    /// what the run waited for when it was paused.
    #[non_exhaustive]
    Resume {
        /// The reason of the pause, if the client gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Something that this build does not know. [`RunInfo::waiting_on`](crate::client::info::RunInfo::waiting_on) has it in words.
    #[serde(other)]
    Unknown,
}

impl Wait {
    /// Reads what a row holds. A row that is damaged hides no run, so it has no waits.
    pub(crate) fn parse(json: &str) -> Vec<Self> {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// Waits as a row holds them.
    pub(crate) fn to_json(waits: &[Self]) -> Option<String> {
        if waits.is_empty() { None } else { serde_json::to_string(waits).ok() }
    }

    /// The line of the workflow's code that waits, such as `src/order.rs:12:10`, if it is known.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Signal { source, .. }
            | Self::Update { source, .. }
            | Self::Condition { source }
            | Self::Timer { source, .. }
            | Self::Activity { source, .. }
            | Self::Step { source, .. }
            | Self::Permit { source, .. }
            | Self::Child { source, .. } => source.as_deref(),
            Self::Resume { .. } | Self::Unknown => None,
        }
    }
}

/// Writes it in words, such as ``signal `upgrade` at src/trial.rs:10:32``.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal { name, .. } => write!(f, "signal `{name}`")?,
            Self::Update { name, .. } => write!(f, "update `{name}`")?,
            Self::Condition { .. } => f.write_str("a condition")?,
            Self::Timer { until, .. } => write!(f, "timer until {}", Timestamp::from(*until))?,
            Self::Step { name, .. } => write!(f, "step `{name}`")?,
            Self::Permit { of, name, .. } => write!(f, "{of} `{name}`")?,
            Self::Child { workflow, run, starting, .. } => {
                write!(
                    f,
                    "child `{workflow}` (run {run}{})",
                    if *starting { ", to be started" } else { "" }
                )?;
            }
            Self::Resume { reason: None } => f.write_str("a resume (paused)")?,
            Self::Resume { reason: Some(reason) } => write!(f, "a resume (paused: {reason})")?,
            Self::Unknown => f.write_str("something of a newer build")?,
            Self::Activity { name, attempt, queue, last_failure, again_at, compensation, .. } => {
                write!(f, "{} `{name}`", if *compensation { "compensation" } else { "activity" })?;
                match (queue, last_failure, again_at) {
                    (Some(queue), None, _) => write!(f, " (a task of activity queue `{queue}`)")?,
                    (Some(queue), Some(failure), _) => write!(
                        f,
                        " (a task of activity queue `{queue}`, attempt {attempt}, after this: {failure})"
                    )?,
                    (None, Some(failure), Some(at)) => {
                        let at = Timestamp::from(*at);
                        write!(f, " (attempt {attempt} begins at {at}, after this: {failure})")?;
                    }
                    (None, Some(failure), None) => {
                        write!(f, " (attempt {attempt} is under way, after this: {failure})")?;
                    }
                    (None, None, _) => {}
                }
            }
        }
        self.source().iter().try_for_each(|source| write!(f, " at {source}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_of_a_newer_build_shows_what_it_can_and_a_damaged_one_nothing() {
        let newer = r#"[{"kind": "moon"}, {"kind": "signal", "name": "go", "phase": 3}]"#;
        assert_eq!(Wait::parse(newer), [Wait::Unknown, Wait::Signal { name: "go".to_owned(), source: None }]);
        assert_eq!(Wait::parse("signal upgrade"), []);
        assert_eq!(Wait::to_json(&[]), None);
    }
}
