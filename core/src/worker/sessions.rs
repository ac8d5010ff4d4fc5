//! A processor's sessions: one, and a second for as long as reads and appends keep overlapping. Each may be a connection
//! of a server that has few. It must not know what a session is used for.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::host::Host;
use crate::store::error::StoreError;
use crate::store::{Session, Store};
use crate::worker::environment::Environment;
use crate::worker::status::ProcessorStatus;

/// How long the second session may lie unused before it is closed.
const UNUSED_MAX: Duration = Duration::from_secs(10);

/// How long to do with one session after a second could not be opened.
const REST: Duration = Duration::from_secs(10);

/// What became of opening a session.
pub(super) type Opened = Result<Box<dyn Session>, StoreError>;

/// The sessions of one processor.
pub(super) struct Sessions {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    status: Arc<ProcessorStatus>,
    /// Those that nobody uses; the last one is used next.
    idle: Vec<Box<dyn Session>>,
    /// How many are in use.
    taken: usize,
    /// The second one, while it is being opened.
    pub(super) opening: Option<BoxFuture<'static, Opened>>,
    /// No second one is opened before then, by the host's clock.
    open_after: Duration,
    /// When both were in use for the last time, by the host's clock.
    overlapped: Duration,
}

impl Sessions {
    /// One session, to begin with.
    pub(super) fn new(with: &Environment, first: Box<dyn Session>) -> Self {
        Self {
            store: Arc::clone(&with.store),
            host: Arc::clone(&with.host),
            status: Arc::clone(&with.status),
            idle: vec![first],
            taken: 0,
            opening: None,
            open_after: Duration::ZERO,
            overlapped: Duration::ZERO,
        }
    }

    /// Takes a session, if there is one. If not, a second one is opened, which may be there before the first is given
    /// back.
    pub(super) fn take(&mut self) -> Option<Box<dyn Session>> {
        let Some(session) = self.idle.pop() else {
            self.open();
            return None;
        };
        self.taken += 1;
        if self.taken == 2 {
            self.overlapped = self.host.monotonic();
        }
        Some(session)
    }

    fn open(&mut self) {
        if self.taken < 2 && self.opening.is_none() && self.host.monotonic() >= self.open_after {
            let store = Arc::clone(&self.store);
            self.opening = Some(Box::pin(async move { store.session().await }));
        }
    }

    /// Gives a session back.
    pub(super) fn give_back(&mut self, session: Box<dyn Session>) {
        self.taken -= 1;
        self.idle.push(session);
    }

    /// Closes the second session if it was not needed for a while.
    pub(super) fn close_unused(&mut self) {
        if self.idle.len() == 2 && self.host.monotonic() >= self.overlapped + UNUSED_MAX {
            self.idle.truncate(1);
        }
    }

    /// The second session has been opened, or could not be.
    pub(super) fn opened(&mut self, opened: Opened) {
        self.opening = None;
        let now = self.host.monotonic();
        match opened {
            Ok(session) => {
                self.overlapped = now;
                self.idle.push(session);
            }
            Err(error) => {
                self.open_after = now + REST;
                tracing::warn!(
                    worker = %self.status.worker, processor = self.status.place,
                    "reads and appends take turns on one session, for {REST:?} at least: a second one could not be \
                     opened: {error}"
                );
            }
        }
    }
}
