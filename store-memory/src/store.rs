//! The store itself: the state machine behind its lock, with its clock, its faults and its listeners. It must not decide
//! anything itself.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use pgworkflows_core::Timestamp;
use pgworkflows_core::store::{Hints, Switchboard};
use tokio::sync::Notify;

use crate::clock::{Clock, SystemClock};
use crate::faults::Faults;
use crate::lingering::Lingering;
use crate::state::State;

/// How many hints a slow listener may lag before it misses some.
const HINTS_KEPT: usize = 1024;

/// A store in memory. Clones are handles to the same store.
#[derive(Clone)]
pub struct MemoryStore(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    state: Mutex<State>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: Option<Arc<dyn Faults>>,
    pub(crate) hints: Hints,
    pub(crate) switchboard: Switchboard,
    /// Notified when a transaction ends, because its keys, runs and messages may be free.
    pub(crate) transaction_ended: Notify,
    pub(crate) sessions: AtomicU64,
    /// Requests that are still in flight although their callers gave them up.
    lingering: Mutex<VecDeque<Lingering>>,
}

/// A copy of a store's whole content, see [`MemoryStore::snapshot`].
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<State>);

impl MemoryStore {
    /// Creates an empty store with the machine's clock and no faults.
    pub fn new() -> Self {
        Self::make(Arc::new(SystemClock), None)
    }

    /// Creates an empty store with this clock and no faults.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self::make(clock, None)
    }

    /// Creates an empty store with this clock, whose calls `faults` may disturb.
    pub fn with_faults(clock: Arc<dyn Clock>, faults: Arc<dyn Faults>) -> Self {
        Self::make(clock, Some(faults))
    }

    fn make(clock: Arc<dyn Clock>, faults: Option<Arc<dyn Faults>>) -> Self {
        let mut state = State::default();
        if faults.is_some() {
            state.keep_facts();
        }
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            clock,
            faults,
            hints: Hints::new(HINTS_KEPT),
            switchboard: Switchboard::default(),
            transaction_ended: Notify::new(),
            sessions: AtomicU64::new(0),
            lingering: Mutex::default(),
        }))
    }

    /// Copies the store's content, to [`restore`](Self::restore) it later.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(Arc::new(self.state().clone()))
    }

    /// Restores an older state. To clients and processors it looks like a database that was restored from a backup, or
    /// that failed over to a standby which lacked some commits.
    ///
    /// Open transactions are lost. Older inbox cursors are refused, and so is the next append of a lease that appended
    /// since the snapshot.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.apply(|state, _| state.restore(&snapshot.0));
        self.0.transaction_ended.notify_waiters();
    }

    /// Delivers the oldest lingering request (see [`Fault::Linger`](crate::Fault::Linger)). Returns whether there was
    /// one.
    pub fn deliver_lingering(&self) -> bool {
        let lingering = self.lingering().pop_front();
        let delivered = lingering.is_some();
        if let Some(request) = lingering {
            self.apply(|state, now| request.take_effect(state, now));
            self.0.transaction_ended.notify_waiters();
        }
        delivered
    }

    /// Lets every lease expire at once, so that a test need not wait before it takes over from a crashed worker.
    pub fn expire_leases(&self) {
        self.apply(State::expire_leases);
    }

    /// How many events were ever appended.
    pub fn event_count(&self) -> u64 {
        self.state().event_count()
    }

    /// The earliest deadline of a parked run.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.state().next_deadline()
    }

    /// The current time of the store's clock.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Applies an operation atomically at the current time, and sends its hints and facts.
    pub(crate) fn apply<T>(&self, operation: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let (answer, now, hints, facts) = {
            let mut state = self.state();
            // Read under the lock, so that of two operations the later one has the later time.
            let now = self.0.clock.now();
            (operation(&mut state, now), now, state.take_hints(), state.take_facts())
        };
        for fact in &facts {
            self.0.faults.as_ref().inspect(|faults| faults.happened(fact, now));
        }
        for hint in hints {
            let times = self.0.faults.as_ref().map_or(1, |faults| faults.hint(hint));
            for _ in 0..times {
                self.0.hints.send(hint);
            }
        }
        answer
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .state
            .lock()
            .expect("the state machine does not panic half-way, or its state cannot be trusted")
    }

    pub(crate) fn lingering(&self) -> MutexGuard<'_, VecDeque<Lingering>> {
        self.0.lingering.lock().expect("nothing panics while it holds the queue")
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
