//! The handle by which other threads reach and observe a processor. It must not know what a processor does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::data::cancellation::Cancellation;
use crate::worker::input::Input;
use crate::worker::status::ProcessorStatus;
use crate::worker::stopwatch::ThreadMeter;
use crate::workflow::mark::PollMark;

/// The handle of one processor. Clones reach the same processor.
#[derive(Clone, Debug)]
pub(crate) struct ProcessorHandle {
    /// Its number among the worker's processors. A replacement keeps it.
    pub(super) place: usize,
    pub(super) mailbox: mpsc::UnboundedSender<Input>,
    /// Cancelled when it is told to stop: it claims no more leases.
    pub(super) stop: CancellationToken,
    /// The parent of its attempts' cancellations.
    pub(super) attempts: Cancellation,
    pub(super) mark: Arc<PollMark>,
    pub(super) status: Arc<ProcessorStatus>,
    pub(super) meter: Arc<ThreadMeter>,
}

impl ProcessorHandle {
    /// Whether both reach the same processor. A replacement has the same place, but is another processor.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mark, &other.mark)
    }

    /// Tells the processor to hand over, after waiting at most `grace` for running activities.
    pub(super) fn hand_over(&self, grace: Duration) {
        self.stop.cancel();
        // A processor that has ended has nothing to hand over.
        drop(self.mailbox.send(Input::Shutdown { grace }));
    }
}

/// The processors that the heartbeat asks, by place. Clones share the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessorHandles(Arc<Mutex<Vec<ProcessorHandle>>>);

impl ProcessorHandles {
    /// Replaces the list.
    pub(super) fn set(&self, processors: Vec<ProcessorHandle>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = processors;
    }

    /// Returns the current list.
    pub(super) fn get(&self) -> Vec<ProcessorHandle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
