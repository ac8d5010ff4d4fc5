//! How long a run may take: its deadline and its grace, counted from its beginning. It must not know who starts the run.

use std::fmt;
use std::time::Duration;

use crate::data::limits;
use crate::data::time::Timestamp;

/// How long a run may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeLimits {
    pub(crate) deadline: Option<Duration>,
    pub(crate) grace: Option<Duration>,
}

impl TimeLimits {
    /// Checks the ranges. The error names what is started.
    pub(crate) fn check(self, started: &dyn fmt::Display) -> Result<(), String> {
        if self.grace.is_some() && self.deadline.is_none() {
            return Err(format!(
                "{started} has a grace without a deadline; set the `deadline` that it follows"
            ));
        }
        for (what, limit) in [("deadline", self.deadline), ("grace", self.grace)] {
            let Some(limit) = limit else { continue };
            if limit.is_zero() || limit > limits::TIMEOUT_MAX {
                return Err(format!(
                    "the {what} of {started} is {limit:?}; give more than zero and at most {:?}",
                    limits::TIMEOUT_MAX
                ));
            }
        }
        Ok(())
    }

    /// The deadline of a run that begins at that time, and the end of its grace.
    pub(crate) fn after(self, begin: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
        let deadline = self.deadline.map(|limit| begin.saturating_add(limit));
        let grace = deadline.zip(self.grace);
        (deadline, grace.map(|(deadline, grace)| deadline.saturating_add(grace)))
    }
}
