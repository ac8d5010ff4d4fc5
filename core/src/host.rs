//! What the library takes from its surroundings: time, entropy, and threads to run activities on. Everything
//! else in `core` is a function of its inputs, so a test that brings a host of its own decides it all.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, LocalBoxFuture};

use crate::data::cancellation::Cancellation;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, RunId};
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::error::Error;

/// The surroundings of a client or a worker.
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// The time since some fixed moment, by a clock that is never set.
    fn monotonic(&self) -> Duration;

    /// Waits for a time by that clock.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;

    /// 64 unpredictable bits.
    fn random(&self) -> u64;

    /// Executes a future elsewhere, to its end.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// What to ask how much processor time the calling thread has used so far, from any thread. By default that is not
    /// known: then no run is ever found to have cost its worker the lease by a poll that takes too long.
    fn cpu_meter(&self) -> CpuMeter {
        Arc::new(|| None)
    }

    /// Surrounds one attempt of an activity or of a step, which is the user's code. A test's host can see here what
    /// is executed and hold its outcome back; by default it is left alone.
    fn attempt<'a>(&self, _of: AttemptOf<'_>, work: AttemptFuture<'a>) -> AttemptFuture<'a> {
        work
    }

    /// Hears of a panic that a worker caught on one of its own threads: a bug of the engine or of a store, never of a
    /// workflow or an activity. The worker goes on, which a test may not want: its host may panic here. By default
    /// nothing is done, since the log tells of it as well.
    fn panicked(&self, _what: &str) {}

    /// Surrounds what a worker does on a thread of its own, be it a processor or the heart, where all of it shares the
    /// caller's thread: see [`Worker::run_on_this_thread`](crate::worker::Worker::run_on_this_thread). A simulation's host can
    /// let work take time here on one thread, while the others go on; by default it is left alone.
    fn thread(&self, work: ThreadFuture) -> ThreadFuture {
        work
    }
}

/// Says how much processor time a thread has used; `None` where that is not known.
pub type CpuMeter = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

/// A part of a worker at work: a processor, or the heart. An error is beyond its help.
pub type ThreadFuture = LocalBoxFuture<'static, Result<(), Error>>;

/// An attempt under way, and what comes of it.
pub type AttemptFuture<'a> = BoxFuture<'a, Result<Payload, Failure>>;

/// Which attempt it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AttemptOf<'a> {
    /// The run that asked for it.
    pub run: RunId,
    /// The durable call.
    pub call: CommandId,
    /// The attempt, from 1 on.
    pub attempt: u32,
    /// The activity's or the step's name.
    pub name: &'a str,
    /// The activity's input; none for a step.
    pub input: Option<&'a Payload>,
    /// How it hears that its outcome is no longer wanted.
    pub cancellation: &'a Cancellation,
}

/// The machine itself, with the tokio runtime in which it was made.
#[derive(Debug)]
pub struct SystemHost {
    runtime: tokio::runtime::Handle,
    began: std::time::Instant,
}

impl SystemHost {
    /// The machine, executing tasks on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "this is where the clock comes in")]
    pub fn current() -> Self {
        Self { runtime: tokio::runtime::Handle::current(), began: std::time::Instant::now() }
    }
}

impl Host for SystemHost {
    #[expect(clippy::disallowed_methods, reason = "this is where the clock comes in")]
    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is where sleeping comes in")]
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    #[expect(clippy::disallowed_methods, reason = "this is where entropy comes in")]
    fn random(&self) -> u64 {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        // Six of the 128 bits are fixed; the sum has none that is.
        high ^ low.rotate_left(32)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(self.runtime.spawn(task));
    }

    /// Linux tells it, in the first number of a thread's `schedstat`, in nanoseconds (proc(5)).
    fn cpu_meter(&self) -> CpuMeter {
        let Ok(thread) = std::fs::read_link("/proc/thread-self") else { return Arc::new(|| None) };
        let path = std::path::Path::new("/proc").join(thread).join("schedstat");
        Arc::new(move || {
            let text = std::fs::read_to_string(&path).ok()?;
            text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
        })
    }
}

/// The store's clock as it is known here: its last answer plus the time since that answer *arrived*. So it is
/// never ahead of the store, and no timer fires early.
#[derive(Debug, Default)]
pub(crate) struct StoreClock {
    /// The store's time less the monotonic time, at the last answer.
    answer: Mutex<Option<(Timestamp, Duration)>>,
}

impl StoreClock {
    /// The store answered, just now.
    pub(crate) fn answered(&self, now: Timestamp, host: &dyn Host) {
        *self.lock() = Some((now, host.monotonic()));
    }

    /// The store's time; `None` before its first answer.
    pub(crate) fn now(&self, host: &dyn Host) -> Option<Timestamp> {
        let (answer, arrived) = (*self.lock())?;
        Some(answer.saturating_add(host.monotonic().saturating_sub(arrived)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Timestamp, Duration)>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
