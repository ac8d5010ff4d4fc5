//! How an activity is attempted: its retry policy and its limits.

use std::time::Duration;

use super::retry::RetryPolicy;

/// How an activity is executed: its retry policy and timeouts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivityOptions {
    pub(crate) retry: RetryPolicy,
    pub(crate) start_to_close: Option<Duration>,
    pub(crate) schedule_to_close: Option<Duration>,
    pub(crate) at_most_once: bool,
}

impl ActivityOptions {
    /// Which failed attempts are followed by another.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// How long one attempt may take: then its token is cancelled and it fails, retryably.
    #[must_use]
    pub fn start_to_close(mut self, limit: Duration) -> Self {
        self.start_to_close = Some(limit);
        self
    }

    /// How long all attempts and the delays between them may take: then the activity fails.
    #[must_use]
    pub fn schedule_to_close(mut self, limit: Duration) -> Self {
        self.schedule_to_close = Some(limit);
        self
    }

    /// Executes the activity at most once: an attempt whose process dies fails the activity instead of being
    /// repeated. Costs one commit more.
    #[must_use]
    pub fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }

    /// What is wrong with the options, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.retry.check()?;
        for (name, limit) in
            [("start_to_close", self.start_to_close), ("schedule_to_close", self.schedule_to_close)]
        {
            if limit.is_some_and(|limit| limit.is_zero()) {
                return Err(format!("{name} is zero; give the time that the activity may take, or none"));
            }
            if limit.is_some_and(|limit| limit > crate::data::limits::TIMEOUT_MAX) {
                return Err(format!(
                    "{name} is {:?}; the longest timeout is {:?}",
                    limit.unwrap_or_default(),
                    crate::data::limits::TIMEOUT_MAX
                ));
            }
        }
        Ok(())
    }
}
