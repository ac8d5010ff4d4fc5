//! A processor's sessions: one, and a second while reads and appends overlap. Each may be a connection to a server that
//! allows few. It must not know what a session is used for.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::host::Host;
use crate::store::error::StoreError;
use crate::store::{Session, Store};
use crate::worker::environment::Environment;
use crate::worker::status::ProcessorStatus;

/// How long the second session may be unused before it is closed.
const UNUSED_MAX: Duration = Duration::from_secs(10);

/// How long to use one session alone after a second one could not be opened.
const REOPEN_DELAY: Duration = Duration::from_secs(10);

/// The result of opening a session.
pub(super) type Opened = Result<Box<dyn Session>, StoreError>;

/// The sessions of one processor.
pub(super) struct Sessions {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    status: Arc<ProcessorStatus>,
    /// The unused sessions; the last one is used next.
    idle: Vec<Box<dyn Session>>,
    /// How many are in use.
    in_use: usize,
    /// The second session, while it is being opened.
    pub(super) opening: Option<BoxFuture<'static, Opened>>,
    /// No second session is opened before this time, by the host's clock.
    open_after: Duration,
    /// When both sessions were last in use at a time, by the host's clock.
    both_used_at: Duration,
}

impl Sessions {
    /// Begins with one session.
    pub(super) fn new(with: &Environment, first: Box<dyn Session>) -> Self {
        Self {
            store: Arc::clone(&with.store),
            host: Arc::clone(&with.host),
            status: Arc::clone(&with.status),
            idle: vec![first],
            in_use: 0,
            opening: None,
            open_after: Duration::ZERO,
            both_used_at: Duration::ZERO,
        }
    }

    /// Takes an unused session. If there is none, begins to open a second one, which may be ready before the first one is
    /// given back.
    pub(super) fn take(&mut self) -> Option<Box<dyn Session>> {
        let Some(session) = self.idle.pop() else {
            self.open();
            return None;
        };
        self.in_use += 1;
        if self.in_use == 2 {
            self.both_used_at = self.host.monotonic();
        }
        Some(session)
    }

    fn open(&mut self) {
        if self.in_use < 2 && self.opening.is_none() && self.host.monotonic() >= self.open_after {
            let store = Arc::clone(&self.store);
            self.opening = Some(Box::pin(async move { store.session().await }));
        }
    }

    /// Gives a session back.
    pub(super) fn give_back(&mut self, session: Box<dyn Session>) {
        self.in_use -= 1;
        self.idle.push(session);
    }

    /// Closes the second session if it has been unused for long.
    pub(super) fn close_unused(&mut self) {
        if self.idle.len() == 2 && self.host.monotonic() >= self.both_used_at + UNUSED_MAX {
            self.idle.truncate(1);
        }
    }

    /// The second session has been opened, or could not be.
    pub(super) fn opened(&mut self, opened: Opened) {
        self.opening = None;
        let now = self.host.monotonic();
        match opened {
            Ok(session) => {
                self.both_used_at = now;
                self.idle.push(session);
            }
            Err(error) => {
                self.open_after = now + REOPEN_DELAY;
                tracing::warn!(
                    worker = %self.status.worker, processor = self.status.place,
                    "reads and appends take turns on one session for at least {REOPEN_DELAY:?}: a second one could not be \
                     opened: {error}"
                );
            }
        }
    }
}
