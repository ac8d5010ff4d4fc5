//! How an activity is executed: its retry policy and its timeouts. It must not know the activity.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::name::Name;
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
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ActivityOptions {
    /// `None` is the default. Shared, because events, commands and the run's state have copies, and most activities have
    /// the default.
    changed: Option<Arc<Settings>>,
}

/// What activity options say.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) retry: RetryPolicy,
    pub(crate) start_to_close: Option<Duration>,
    pub(crate) schedule_to_close: Option<Duration>,
    pub(crate) at_most_once: bool,
    pub(crate) queue: Option<Name>,
    pub(crate) transactional: bool,
}

impl Settings {
    pub(crate) const DEFAULT: Self = Self {
        retry: RetryPolicy::none(),
        start_to_close: None,
        schedule_to_close: None,
        at_most_once: false,
        queue: None,
        transactional: false,
    };
}

impl ActivityOptions {
    /// Sets when a failed attempt is retried. By default it is not.
    #[must_use]
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.change(|settings| settings.retry = policy)
    }

    /// Limits the time of one attempt. When it has passed, the attempt is cancelled and fails, and may be retried.
    /// The limit is above zero and at most 100 years; by default there is none.
    #[must_use]
    pub fn start_to_close(self, limit: Duration) -> Self {
        self.change(|settings| settings.start_to_close = Some(limit))
    }

    /// Limits the time of all attempts and the delays between them. When it has passed, the activity fails.
    /// The limit is above zero and at most 100 years; by default there is none.
    #[must_use]
    pub fn schedule_to_close(self, limit: Duration) -> Self {
        self.change(|settings| settings.schedule_to_close = Some(limit))
    }

    /// Executes the activity at most once: if the process dies during the attempt, the activity fails instead of being
    /// attempted again. This costs one more commit.
    #[must_use]
    pub fn at_most_once(self) -> Self {
        self.change(|settings| settings.at_most_once = true)
    }

    /// Has the activity executed by the workers that serve this activity queue, instead of the worker that owns the run. The
    /// name has 1 to 255 bytes and no control characters. See
    /// [`WorkerBuilder::activity_queue`](crate::worker::WorkerBuilder::activity_queue).
    #[must_use]
    pub fn queue(self, name: impl Into<Name>) -> Self {
        self.change(|settings| settings.queue = Some(name.into()))
    }

    /// Says that an attempt may record its own outcome, together with its effects, through
    /// [`ActivityContext::task`](crate::workflow::activity::ActivityContext::task). So the activity always becomes a task, and
    /// no timeout makes it fail while its attempt may still succeed. Stores that offer transactional activities set this.
    #[must_use]
    pub fn transactional(self) -> Self {
        self.change(|settings| settings.transactional = true)
    }

    /// The settings.
    pub(crate) fn get(&self) -> &Settings {
        static DEFAULT: Settings = Settings::DEFAULT;
        self.changed.as_deref().unwrap_or(&DEFAULT)
    }

    fn change(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.get().clone();
        change(&mut settings);
        settings.into()
    }

    /// Checks the ranges.
    pub(crate) fn check(&self) -> Result<(), String> {
        // The default is in range.
        let Some(settings) = self.changed.as_deref() else { return Ok(()) };
        let Settings { retry, start_to_close, schedule_to_close, queue, at_most_once: _, transactional: _ } =
            settings;
        retry.check()?;
        if let Some(queue) = queue {
            Name::check("activity queue", queue)?;
        }
        for (name, limit) in [("start_to_close", start_to_close), ("schedule_to_close", schedule_to_close)] {
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

impl From<Settings> for ActivityOptions {
    fn from(settings: Settings) -> Self {
        Self { changed: (settings != Settings::DEFAULT).then(|| Arc::new(settings)) }
    }
}

impl fmt::Debug for ActivityOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { retry, start_to_close, schedule_to_close, at_most_once, queue, transactional } =
            self.get();
        f.debug_struct("ActivityOptions")
            .field("retry", retry)
            .field("start_to_close", start_to_close)
            .field("schedule_to_close", schedule_to_close)
            .field("at_most_once", at_most_once)
            .field("queue", queue)
            .field("transactional", transactional)
            .finish()
    }
}
