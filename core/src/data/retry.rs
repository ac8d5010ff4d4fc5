//! When to retry: retry policies as data. They draw no random numbers: jitter is derived from a seed of the run.

use std::time::Duration;

/// How often, and after which delays, a failed attempt is retried. The default is [`RetryPolicy::none`].
///
/// The delay after attempt `n` is `initial · 2ⁿ⁻¹`, at most `delay_max`. Jitter shortens it by up to a quarter, by the
/// same amount at every replay of the run.
///
/// ```
/// use std::time::Duration;
/// use pgworkflows::activity::RetryPolicy;
///
/// let policy = RetryPolicy::exponential()
///     .initial(Duration::from_millis(200))
///     .delay_max(Duration::from_secs(30))
///     .max_attempts(5)
///     .non_retryable(["card-declined"]);
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    pub(crate) initial: Duration,
    pub(crate) delay_max: Duration,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) non_retryable: Vec<String>,
}

impl RetryPolicy {
    /// Makes one attempt and no retries.
    pub const fn none() -> Self {
        Self {
            initial: Duration::from_secs(1),
            delay_max: Duration::from_secs(100),
            max_attempts: Some(1),
            non_retryable: Vec::new(),
        }
    }

    /// Retries without end, after delays of 1, 2, 4, … seconds, at most 100.
    pub fn exponential() -> Self {
        Self { max_attempts: None, ..Self::none() }
    }

    /// Sets the delay after the first attempt: 1 second by default. Zero is refused when the activity is scheduled.
    #[must_use]
    pub fn initial(mut self, delay: Duration) -> Self {
        self.initial = delay;
        self
    }

    /// Sets the longest delay: 100 seconds by default. A value below the initial delay is refused when the activity is
    /// scheduled.
    #[must_use]
    pub fn delay_max(mut self, delay: Duration) -> Self {
        self.delay_max = delay;
        self
    }

    /// Limits the number of attempts, the first one included. Zero is refused when the activity is scheduled.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets the types of failures that are not retried, by
    /// [`Failure::type_name`](crate::data::failure::Failure::type_name): the name that the activity gives its error,
    /// such as `card-declined`, by itself or by deriving `Failure`; or the path of the Rust type in the module that
    /// defines it. That path may differ from the public one, and changes when the type is moved: `std::io::Error` is
    /// `std::io::error::Error`. Results and histories show a failure's type in parentheses, and [`std::any::type_name`]
    /// returns it. The causes of a failure are not compared, apart from those of a `call-failed`: a policy for whole runs names the
    /// failures of their activities.
    ///
    /// ```
    /// # use pgworkflows::activity::RetryPolicy;
    /// let policy = RetryPolicy::exponential()
    ///     .non_retryable(["card-declined", std::any::type_name::<std::io::Error>()]);
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn non_retryable<N: Into<String>>(mut self, type_names: impl IntoIterator<Item = N>) -> Self {
        self.non_retryable = type_names.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn attempts_max(&self) -> Option<u32> {
        self.max_attempts
    }

    /// The delay after `attempt` (from 1 on) failed with `failure`, or `None` if it was the last attempt.
    /// The same `seed` gives the same jitter.
    pub(crate) fn delay_after(
        &self,
        attempt: u32,
        failure: &crate::data::failure::Failure,
        seed: u64,
    ) -> Option<Duration> {
        let last = self.max_attempts.is_some_and(|max| attempt >= max);
        if last || !failure.retryable || self.non_retryable.contains(&failure.origin().type_name) {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(31);
        let delay = self.initial.saturating_mul(1 << doublings).min(self.delay_max);
        let fraction = crate::data::random::mix(seed ^ u64::from(attempt)) >> 40;
        let jitter = delay.mul_f64(0.25 * fraction as f64 / f64::from(1 << 24));
        Some(delay - jitter)
    }

    /// Checks the ranges.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.max_attempts == Some(0) {
            return Err("max_attempts is 0; the first attempt counts, so give at least 1".to_owned());
        }
        if self.initial.is_zero() {
            return Err("the initial delay is zero; give at least a microsecond".to_owned());
        }
        if self.delay_max < self.initial {
            return Err(format!(
                "delay_max is {:?}, below the initial delay of {:?}; raise it",
                self.delay_max, self.initial
            ));
        }
        Ok(())
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::failure::Failure;

    fn failure() -> Failure {
        Failure::new("broken", "it broke")
    }

    #[test]
    fn delays_double_up_to_the_maximum_less_a_quarter_at_most() {
        let policy = RetryPolicy::exponential().delay_max(Duration::from_secs(5));
        for (attempt, full) in [(1, 1), (2, 2), (3, 4), (4, 5), (40, 5)] {
            let full = Duration::from_secs(full);
            let delay = policy.delay_after(attempt, &failure(), 7).unwrap();
            assert!(delay <= full && delay >= full.mul_f64(0.75), "{attempt}: {delay:?}");
        }
    }

    #[test]
    fn jitter_is_the_same_for_the_same_seed_and_differs_for_others() {
        let policy = RetryPolicy::exponential();
        let delay = |seed| policy.delay_after(1, &failure(), seed).unwrap();
        assert_eq!(delay(1), delay(1));
        assert_ne!(delay(1), delay(2));
    }

    #[test]
    fn last_attempt_and_non_retryable_failures_are_not_retried() {
        let policy = RetryPolicy::exponential().max_attempts(3).non_retryable(["declined"]);
        assert!(policy.delay_after(2, &failure(), 0).is_some());
        assert_eq!(policy.delay_after(3, &failure(), 0), None);
        assert_eq!(policy.delay_after(1, &failure().non_retryable(), 0), None);
        assert_eq!(policy.delay_after(1, &Failure::new("declined", ""), 0), None);
        assert_eq!(RetryPolicy::none().delay_after(1, &failure(), 0), None);
    }

    #[test]
    fn run_that_passes_on_a_failure_is_not_retried_if_the_policy_names_it() {
        let policy = RetryPolicy::exponential().non_retryable(["declined"]);
        let failed = |cause| {
            let mut failure = Failure::new("call-failed", "activity `charge` failed");
            failure.cause = Some(Box::new(Failure::new(cause, "")));
            failure
        };
        assert!(policy.delay_after(1, &failed("busy"), 0).is_some());
        assert_eq!(policy.delay_after(1, &failed("declined"), 0), None);
        // Another failure that it caused is another failure.
        let mut wrapped = failure();
        wrapped.cause = Some(Box::new(Failure::new("declined", "")));
        assert!(policy.delay_after(1, &wrapped, 0).is_some());
    }

    #[test]
    fn policy_out_of_range_is_refused_with_the_setting_at_fault() {
        assert!(RetryPolicy::exponential().max_attempts(0).check().unwrap_err().contains("max_attempts"));
        assert!(RetryPolicy::exponential().initial(Duration::ZERO).check().unwrap_err().contains("initial"));
        let low = RetryPolicy::exponential().delay_max(Duration::from_millis(1));
        assert!(low.check().unwrap_err().contains("delay_max"));
    }
}
