//! Where a processor's thread is: what its watchdog reads from another thread. It must not judge.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::scope::Source;
use crate::event::Name;
use crate::id::RunId;

/// The poll that a processor is in, if any.
#[derive(Debug, Default)]
pub(crate) struct PollMark {
    polls: AtomicU64,
    current: Mutex<Option<Polling>>,
}

/// A poll that is going on.
#[derive(Clone, Debug)]
pub(crate) struct Polling {
    /// Its number: the same number twice is the same poll.
    pub(crate) number: u64,
    pub(crate) run: RunId,
    pub(crate) workflow: Name,
    /// The last durable call that the code made.
    pub(crate) source: Option<Source>,
}

impl PollMark {
    pub(crate) fn begin(&self, run: RunId, workflow: &Name) {
        let number = self.polls.fetch_add(1, Ordering::Relaxed);
        let polling = Polling { number, run, workflow: workflow.clone(), source: None };
        *self.lock() = Some(polling);
    }

    pub(crate) fn at(&self, source: Source) {
        if let Some(polling) = self.lock().as_mut() {
            polling.source = Some(source);
        }
    }

    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    pub(crate) fn current(&self) -> Option<Polling> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Polling>> {
        // A panic of workflow code cannot happen under this lock, and the mark is whole at every moment.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
