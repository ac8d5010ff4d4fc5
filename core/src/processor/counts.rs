//! What the events of a group add to the worker's metrics, once they are committed. It must not know what they are for.

use crate::log::event::Event;
use crate::observe::metrics::Metrics;
use crate::store::append::ClosedStatus;

/// What a group adds to the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunCounts {
    started: u32,
    stalled: u32,
    ended: Option<ClosedStatus>,
}

impl RunCounts {
    /// Counts an event.
    pub(super) fn note(&mut self, event: &Event) {
        if let Event::RunStarted { .. } = event {
            self.started += 1;
        } else if let Event::RunStalled { .. } = event {
            self.stalled += 1;
        }
        self.ended = self.ended.or(event.closed_status());
    }

    /// The group is committed.
    pub(super) fn add_to(self, metrics: &Metrics) {
        metrics.runs_started.add(self.started.into());
        metrics.runs_stalled.add(self.stalled.into());
        let ended = match self.ended {
            None => return,
            Some(ClosedStatus::Completed) => &metrics.runs_completed,
            Some(ClosedStatus::Failed) => &metrics.runs_failed,
            Some(ClosedStatus::Cancelled) => &metrics.runs_cancelled,
            Some(ClosedStatus::Terminated) => &metrics.runs_terminated,
            Some(ClosedStatus::TimedOut) => &metrics.runs_timed_out,
            Some(ClosedStatus::Continued) => &metrics.runs_continued,
            Some(ClosedStatus::Retried) => &metrics.runs_retried,
        };
        ended.add(1);
    }
}
