//! Measures how a processor's thread spends its time: if one run used up a lease, that run is at fault for the loss. It
//! must not know what is done about it.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use crate::data::id::RunId;
use crate::host::{CpuMeter, Host};

/// The CPU time that a processor's thread has used, readable from any thread.
#[derive(Default)]
pub(crate) struct ThreadMeter(OnceLock<CpuMeter>);

impl ThreadMeter {
    /// Begins to measure the calling thread.
    pub(super) fn begin(&self, host: &dyn Host) {
        self.0.get_or_init(|| host.cpu_meter());
    }

    /// The CPU time used so far; `None` if it is not known.
    pub(super) fn used(&self) -> Option<Duration> {
        self.0.get()?()
    }

    /// Whether the thread was on a CPU for at least half of the time that has `passed` since it had used `since`. No run is at
    /// fault for a stopped process or an overloaded machine.
    pub(super) fn worked(&self, since: Option<Duration>, passed: Duration) -> bool {
        let (Some(since), Some(used)) = (since, self.used()) else { return false };
        used.saturating_sub(since) * 2 >= passed
    }
}

impl fmt::Debug for ThreadMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThreadMeter").field(&self.used()).finish()
    }
}

/// Measures the time since a lease was renewed.
pub(super) struct Stopwatch {
    began: Duration,
    /// The CPU time that the thread had used then.
    used: Option<Duration>,
    /// The longest turn since then, and the run that it ended with.
    longest: Duration,
    run: Option<RunId>,
}

impl Stopwatch {
    pub(super) fn start(host: &dyn Host, meter: &ThreadMeter) -> Self {
        Self { began: host.monotonic(), used: meter.used(), longest: Duration::ZERO, run: None }
    }

    /// Notes how long a turn took, and the run that it ended with.
    pub(super) fn note(&mut self, took: Duration, run: Option<RunId>) {
        if took > self.longest {
            (self.longest, self.run) = (took, run);
        }
    }

    /// The run that used up more than half of the time, if the thread was on a CPU meanwhile.
    pub(super) fn at_fault(&self, host: &dyn Host, meter: &ThreadMeter) -> Option<RunId> {
        let passed = host.monotonic().saturating_sub(self.began);
        self.run.filter(|_| self.longest * 2 > passed && meter.worked(self.used, passed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::future::BoxFuture;

    use super::*;
    use crate::testing::run_id;

    /// A host whose clock and whose thread's meter are set by hand, in seconds.
    #[derive(Debug, Default)]
    struct Clocks {
        passed: Arc<AtomicU64>,
        worked: Arc<AtomicU64>,
    }

    impl Host for Clocks {
        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.passed.load(Ordering::Relaxed))
        }

        fn sleep(&self, _time: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }

        fn random(&self) -> u64 {
            4
        }

        fn spawn(&self, _task: BoxFuture<'static, ()>) {}

        fn cpu_meter(&self) -> CpuMeter {
            let worked = Arc::clone(&self.worked);
            Arc::new(move || Some(Duration::from_secs(worked.load(Ordering::Relaxed))))
        }
    }

    /// The run at fault if one turn took `longest` of ten seconds, and the thread was on a CPU for `worked` of them.
    fn at_fault(longest: u64, worked: u64) -> Option<RunId> {
        let (host, meter) = (Clocks::default(), ThreadMeter::default());
        meter.begin(&host);
        let mut watch = Stopwatch::start(&host, &meter);
        host.passed.store(10, Ordering::Relaxed);
        host.worked.store(worked, Ordering::Relaxed);
        watch.note(Duration::from_secs(1), Some(run_id(1)));
        watch.note(Duration::from_secs(longest), Some(run_id(2)));
        watch.at_fault(&host, &meter)
    }

    #[test]
    fn run_is_at_fault_only_if_its_turn_took_most_of_the_time_and_the_thread_worked() {
        assert_eq!(at_fault(9, 9), Some(run_id(2)));
        assert_eq!(at_fault(9, 5), Some(run_id(2)));
        assert_eq!(at_fault(9, 4), None, "the machine was overloaded, or the process was stopped");
        assert_eq!(at_fault(5, 9), None, "several turns took the time");
    }

    #[test]
    fn no_run_is_at_fault_if_the_cpu_time_is_not_known() {
        let (host, meter) = (Clocks::default(), ThreadMeter::default());
        let mut watch = Stopwatch::start(&host, &meter);
        host.passed.store(10, Ordering::Relaxed);
        watch.note(Duration::from_secs(10), Some(run_id(1)));
        assert_eq!(watch.at_fault(&host, &meter), None);
    }
}
