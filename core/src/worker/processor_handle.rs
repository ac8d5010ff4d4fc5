//! A processor as other threads see it: where to reach it, and how it is doing. It must not know what a processor does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::worker::input::Input;
use crate::worker::status::ProcessorStatus;
use crate::worker::stopwatch::ThreadMeter;
use crate::workflow::mark::PollMark;

/// A processor as other threads see it: where to reach it, and how it is doing. Clones are of the same one.
#[derive(Clone, Debug)]
pub(crate) struct ProcessorHandle {
    /// Its number among the worker's processors, which its replacement will have as well.
    pub(super) place: usize,
    pub(super) mailbox: mpsc::UnboundedSender<Input>,
    /// Cancelled when it is told to stop: it claims no other lease.
    pub(super) stop: CancellationToken,
    /// The parent of its attempts' tokens.
    pub(super) attempts: CancellationToken,
    pub(super) mark: Arc<PollMark>,
    pub(super) status: Arc<ProcessorStatus>,
    pub(super) meter: Arc<ThreadMeter>,
}

impl ProcessorHandle {
    /// Whether it is the same processor: a replacement has the same place.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mark, &other.mark)
    }

    /// Tells the processor to hand over: it waits for running activities for at most `grace`.
    pub(super) fn hand_over(&self, grace: Duration) {
        self.stop.cancel();
        // One that is gone has nothing to hand over.
        drop(self.mailbox.send(Input::Shutdown { grace }));
    }
}

/// The processors that the heartbeat speaks for, by their place. Clones are of the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessorHandles(Arc<Mutex<Vec<ProcessorHandle>>>);

impl ProcessorHandles {
    /// They are these from now on.
    pub(super) fn set(&self, processors: Vec<ProcessorHandle>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = processors;
    }

    /// They are these now.
    pub(super) fn get(&self) -> Vec<ProcessorHandle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
