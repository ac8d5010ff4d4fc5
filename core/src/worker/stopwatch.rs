//! How a processor's thread spent the time since its lease was renewed: if a run used it up, the loss of the lease is that
//! run's fault. It must not know what is done about it.

use std::time::Duration;

use crate::host::{CpuMeter, Host};
use crate::id::RunId;

/// The time since a renewal.
pub(super) struct Stopwatch {
    began: Duration,
    meter: CpuMeter,
    /// The processor time that the thread had used then.
    used: Option<Duration>,
    /// The longest turn since, and the run that it ended with.
    longest: Duration,
    run: Option<RunId>,
}

impl Stopwatch {
    /// Begins with what the calling thread does from now on.
    pub(super) fn start(host: &dyn Host) -> Self {
        let meter = host.cpu_meter();
        Self { began: host.monotonic(), used: meter(), meter, longest: Duration::ZERO, run: None }
    }

    /// A turn took so long, and ended with work on this run.
    pub(super) fn note(&mut self, took: Duration, run: Option<RunId>) {
        if took > self.longest {
            (self.longest, self.run) = (took, run);
        }
    }

    /// The run that used up more than half of the time, if the thread really worked for half of it: a process that was
    /// stopped, or a host that is short of processors, is nobody's fault.
    pub(super) fn at_fault(&self, host: &dyn Host) -> Option<RunId> {
        let passed = host.monotonic().saturating_sub(self.began);
        let worked = (self.meter)()?.saturating_sub(self.used?);
        self.run.filter(|_| self.longest * 2 > passed && worked * 2 >= passed)
    }
}
