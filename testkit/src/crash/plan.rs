//! Where processes die, as their store sees it. It must not know what dies there, nor what happens afterwards.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pgworkflows_memory::{Call, Fault, FaultPoint, Faults, Stage};

/// When a process dies, relative to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrashMoment {
    /// The append was sent, and is never written.
    BeforeCommit,
    /// The append is written, and its acknowledgement is lost.
    BeforeAcknowledgement,
    /// The append is written and acknowledged, and the process has done nothing else since.
    AfterAcknowledgement,
}

impl CrashMoment {
    /// All moments.
    pub(super) const ALL: [Self; 3] =
        [Self::BeforeCommit, Self::BeforeAcknowledgement, Self::AfterAcknowledgement];
}

impl fmt::Display for CrashMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeCommit => "never committed",
            Self::BeforeAcknowledgement => "committed, its acknowledgement lost",
            Self::AfterAcknowledgement => "committed and acknowledged",
        })
    }
}

/// Where a process dies: at an append, counted from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashPoint {
    /// The number of the append, starting at 1.
    pub append: usize,
    /// When, relative to the append.
    pub moment: CrashMoment,
    /// The stored names of the events that it holds.
    pub events: Vec<String>,
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "append {} ({}), {}", self.append, self.events.join(", "), self.moment)
    }
}

/// The faults of a store whose processes die at given points, one after another.
#[derive(Debug)]
pub(super) struct CrashPlan(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where the next processes die, the next one last.
    ahead: Vec<(usize, CrashMoment)>,
    /// The events of each append of the present process.
    appends: Vec<Vec<String>>,
    is_due: bool,
    died: Vec<CrashPoint>,
}

impl CrashPlan {
    pub(super) fn new(points: &[(usize, CrashMoment)]) -> Self {
        let ahead = points.iter().rev().copied().collect();
        Self(Mutex::new(Inner { ahead, appends: Vec::new(), is_due: false, died: Vec::new() }))
    }

    /// Whether the present process has to die now. Then the next one begins.
    pub(super) fn take_due(&self) -> bool {
        let mut inner = self.lock();
        if inner.is_due {
            inner.appends.clear();
        }
        std::mem::take(&mut inner.is_due)
    }

    /// Where processes died.
    pub(super) fn died(&self) -> Vec<CrashPoint> {
        self.lock().died.clone()
    }

    /// How many appends the last process has made.
    pub(super) fn appends(&self) -> usize {
        self.lock().appends.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults for CrashPlan {
    fn at(&self, point: &FaultPoint<'_>) -> Fault {
        let Call::Append(append) = point.call else { return Fault::Proceed };
        let mut inner = self.lock();
        if point.stage == Stage::Request {
            let events = append.frames.iter().flat_map(|frame| frame.events().unwrap_or_default());
            inner.appends.push(events.map(|event| event.event.name().to_owned()).collect());
        }
        let Some((number, moment)) = inner.ahead.last().copied() else { return Fault::Proceed };
        let stage = match moment {
            CrashMoment::BeforeCommit => Stage::Commit,
            CrashMoment::BeforeAcknowledgement | CrashMoment::AfterAcknowledgement => Stage::Acknowledgement,
        };
        if inner.is_due || inner.appends.len() != number || point.stage != stage {
            return Fault::Proceed;
        }
        inner.ahead.pop();
        inner.is_due = true;
        let events = inner.appends.last().cloned().unwrap_or_default();
        inner.died.push(CrashPoint { append: number, moment, events });
        match moment {
            CrashMoment::AfterAcknowledgement => Fault::Proceed,
            CrashMoment::BeforeCommit | CrashMoment::BeforeAcknowledgement => {
                Fault::Delay(Box::pin(std::future::pending()))
            }
        }
    }
}
