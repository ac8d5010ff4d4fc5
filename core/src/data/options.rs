//! How an activity is executed: its retry policy and its timeouts. It must not know the activity.

use std::time::Duration;

use super::retry::RetryPolicy;

/// How an activity is executed: its retry policy and timeouts. The default is one attempt without a timeout.
///
/// Return them from [`Activity::options`](crate::workflow::activity::Activity::options). Options that are out of range
/// are refused when the activity is scheduled: that stalls the run.
///
/// ```
/// use std::time::Duration;
/// use pgworkflows::activity::{ActivityOptions, RetryPolicy};
///
/// let options = ActivityOptions::default()
///     .retry(RetryPolicy::exponential().max_attempts(5))
///     .start_to_close(Duration::from_secs(10))
///     .schedule_to_close(Duration::from_secs(60));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivityOptions {
    pub(crate) retry: RetryPolicy,
    pub(crate) start_to_close: Option<Duration>,
    pub(crate) schedule_to_close: Option<Duration>,
    pub(crate) at_most_once: bool,
}

impl ActivityOptions {
    /// Sets when a failed attempt is retried. By default it is not.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Limits the time of one attempt. When it has passed, the attempt is cancelled and fails, and may be retried.
    /// The limit is above zero and at most 100 years; by default there is none.
    #[must_use]
    pub fn start_to_close(mut self, limit: Duration) -> Self {
        self.start_to_close = Some(limit);
        self
    }

    /// Limits the time of all attempts and the delays between them. When it has passed, the activity fails.
    /// The limit is above zero and at most 100 years; by default there is none.
    #[must_use]
    pub fn schedule_to_close(mut self, limit: Duration) -> Self {
        self.schedule_to_close = Some(limit);
        self
    }

    /// Executes the activity at most once: if the process dies during the attempt, the activity fails instead of being
    /// attempted again. This costs one more commit.
    #[must_use]
    pub fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }

    /// Checks the ranges.
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
