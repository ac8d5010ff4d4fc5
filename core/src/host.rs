//! What the library takes from its environment: time, entropy, and a place to run tasks. Everything else in `core` is a
//! function of its inputs, so a test with its own host controls everything. It must not know what the tasks do.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures::future::{BoxFuture, LocalBoxFuture};

use crate::data::cancellation::Cancellation;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, RunId};
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::error::Error;

/// The environment of a client or a worker. Programs use [`SystemHost`]; tests bring their own to control time.
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// The time since a fixed moment, by a clock that never goes backwards.
    fn monotonic(&self) -> Duration;

    /// Waits for `time` by the monotonic clock.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;

    /// Returns 64 unpredictable bits.
    fn random(&self) -> u64;

    /// Runs a future to its end in the background.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Returns a meter of the processor time that the calling thread uses; the meter can be read from any thread. By
    /// default the time is not known: then no run is set aside because its polls cost the worker the lease.
    fn cpu_meter(&self) -> CpuMeter {
        Arc::new(|| None)
    }

    /// Wraps one attempt of an activity or a step, which runs the user's code. A test's host can observe here what is
    /// executed and delay its outcome. By default the attempt is not changed.
    fn attempt<'a>(&self, _of: AttemptOf<'_>, work: AttemptFuture<'a>) -> AttemptFuture<'a> {
        work
    }

    /// Returns the waker with which an attempt waits for what it has asked its own [client](crate::activity::ActivityContext::client).
    /// A test's host can tell such waits from those for something outside of the test. By default it is the same waker.
    fn asking(&self, waker: &Waker) -> Waker {
        waker.clone()
    }

    /// Reports a panic that a worker caught on one of its own threads: a bug of the engine or of a store, never of a
    /// workflow or an activity. The worker logs it and continues; a test's host may panic here instead. By default
    /// nothing is done.
    fn panicked(&self, _what: &str) {}

    /// Wraps the work of one of a worker's threads, a processor or the heartbeat, if all of them share the caller's
    /// thread: see [`Worker::run_on_this_thread`](crate::worker::Worker::run_on_this_thread). A simulation's host can let
    /// work on one thread take time here while the others continue. By default the work is not changed.
    fn thread(&self, work: ThreadFuture) -> ThreadFuture {
        work
    }
}

/// When the file of this program was last written, in seconds since 1970; 0 if the system does not tell.
pub(crate) fn program_written_at() -> u64 {
    let written = std::env::current_exe().and_then(std::fs::metadata).and_then(|file| file.modified());
    let since = written.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

/// Returns the processor time that a thread has used; `None` if it is not known.
pub type CpuMeter = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

/// The work of one of a worker's threads: a processor, or the heartbeat. Its error ends the worker.
pub type ThreadFuture = LocalBoxFuture<'static, Result<(), Error>>;

/// An attempt in flight, and its outcome.
pub type AttemptFuture<'a> = BoxFuture<'a, Result<Payload, Failure>>;

/// Identifies an attempt of an activity or a step.
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
    /// Tells the attempt that its outcome is no longer wanted.
    pub cancellation: &'a Cancellation,
}

/// The machine's clock and entropy, and the tokio runtime in which the host was created.
#[derive(Debug)]
pub struct SystemHost {
    runtime: tokio::runtime::Handle,
    began: std::time::Instant,
}

impl SystemHost {
    /// Creates a host that runs its tasks on the current tokio runtime.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "the clock enters here")]
    pub fn current() -> Self {
        Self { runtime: tokio::runtime::Handle::current(), began: std::time::Instant::now() }
    }
}

impl Host for SystemHost {
    #[expect(clippy::disallowed_methods, reason = "the clock enters here")]
    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "sleeping enters here")]
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    #[expect(clippy::disallowed_methods, reason = "entropy enters here")]
    fn random(&self) -> u64 {
        rand::Rng::next_u64(&mut rand::rng())
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(self.runtime.spawn(task));
    }

    /// On Linux, the first number of a thread's `schedstat` is its processor time in nanoseconds: see proc(5).
    fn cpu_meter(&self) -> CpuMeter {
        let Ok(thread) = std::fs::read_link("/proc/thread-self") else { return Arc::new(|| None) };
        let path = std::path::Path::new("/proc").join(thread).join("schedstat");
        Arc::new(move || {
            let text = std::fs::read_to_string(&path).ok()?;
            text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
        })
    }
}

/// The store's clock as this process knows it: the store's last answer plus the time since that answer *arrived*. So it
/// is never ahead of the store, and no timer fires early.
#[derive(Debug, Default)]
pub(crate) struct StoreClock {
    /// The store's last answer, and the monotonic time at which it arrived.
    answer: Mutex<Option<(Timestamp, Duration)>>,
}

impl StoreClock {
    /// Records an answer of the store that has just arrived.
    pub(crate) fn answered(&self, now: Timestamp, host: &dyn Host) {
        *self.lock() = Some((now, host.monotonic()));
    }

    /// The store's time; `None` before its first answer.
    pub(crate) fn now(&self, host: &dyn Host) -> Option<Timestamp> {
        self.at(host.monotonic())
    }

    /// The store's time when the host's clock shows `monotonic`.
    pub(crate) fn at(&self, monotonic: Duration) -> Option<Timestamp> {
        let (answer, arrived) = (*self.lock())?;
        Some(answer.saturating_add(monotonic.saturating_sub(arrived)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Timestamp, Duration)>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
