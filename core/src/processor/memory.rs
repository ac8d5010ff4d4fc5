//! How many bytes a worker keeps in memory, and its budget for them. A processor counts on its own thread, and publishes
//! the sum once a turn; what crosses threads is counted at once. It must not know what the bytes are.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// About how many bytes a run in memory takes beside its future and its payloads, with its entries in the indexes.
pub(super) const RUN_BYTES: usize = 2_048;

/// About how many bytes a message takes beside its body.
pub(super) const MESSAGE_BYTES: usize = 256;

/// About how many bytes a group takes beside what it writes.
pub(super) const GROUP_BYTES: usize = 512;

/// The budget of a worker. Clones share it.
///
/// From half of it on, starts are held back. While it is used up, the rest goes on piece by piece: whatever a worker waits
/// for has its own place, so that nothing waits for bytes that only its own end would free.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    used: AtomicUsize,
    /// How many outcomes are on their way to a processor or to the store.
    outcomes: AtomicUsize,
    /// Wakes an outcome that waits for room.
    freed: Notify,
}

/// Bytes that are counted until this is dropped, on whatever thread.
#[derive(Debug)]
pub(crate) struct Room {
    budget: MemoryBudget,
    bytes: usize,
    is_outcome: bool,
}

impl MemoryBudget {
    pub(crate) fn new(max: usize) -> Self {
        let (used, outcomes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Shared { max, used, outcomes, freed: Notify::new() }))
    }

    pub(crate) fn max(&self) -> usize {
        self.0.max
    }

    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.0.max
    }

    /// Takes room, whether or not there is any.
    pub(crate) fn take(&self, bytes: usize) -> Room {
        self.room(bytes, false)
    }

    /// Takes room for a start, unless starts are held back.
    pub(crate) fn take_for_start(&self, bytes: usize) -> Option<Room> {
        let fits = self.used().saturating_add(bytes) <= self.0.max / 2;
        fits.then(|| self.take(bytes))
    }

    /// Takes room for an outcome as soon as there is some. An outcome always fits if no other is on its way.
    pub(crate) async fn take_for_outcome(&self, bytes: usize) -> Room {
        let mut has_waited = false;
        loop {
            if let Some(room) = self.try_outcome(bytes) {
                if has_waited {
                    // There may be room for the next one, too.
                    self.0.freed.notify_one();
                }
                return room;
            }
            self.0.freed.notified().await;
            has_waited = true;
        }
    }

    fn try_outcome(&self, bytes: usize) -> Option<Room> {
        let fits = |outcomes| {
            // What waits to be written may take the rest.
            let fits = outcomes == 0 || self.used().saturating_add(bytes) <= self.0.max / 4 * 3;
            fits.then_some(outcomes + 1)
        };
        self.0.outcomes.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(self.room(bytes, true))
    }

    fn room(&self, bytes: usize, is_outcome: bool) -> Room {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        Room { budget: self.clone(), bytes, is_outcome }
    }

    fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.is_outcome {
            self.budget.0.outcomes.fetch_sub(1, Ordering::AcqRel);
        }
        self.budget.give_back(self.bytes);
    }
}

/// What one processor keeps. Clones count together.
#[derive(Clone, Debug)]
pub(super) struct Tally(Rc<Local>);

#[derive(Debug)]
struct Local {
    budget: MemoryBudget,
    bytes: Cell<usize>,
    /// How many of them the budget counts.
    published: Cell<usize>,
}

/// Bytes of a processor that are counted until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    tally: Tally,
    bytes: usize,
}

impl Tally {
    pub(super) fn new(budget: MemoryBudget) -> Self {
        Self(Rc::new(Local { budget, bytes: Cell::new(0), published: Cell::new(0) }))
    }

    #[cfg(test)]
    pub(super) fn unlimited() -> Self {
        Self::new(MemoryBudget::new(usize::MAX))
    }

    pub(super) fn hold(&self, bytes: usize) -> Held {
        self.0.bytes.update(|sum| sum + bytes);
        Held { tally: self.clone(), bytes }
    }

    /// What the worker keeps: this processor now, the others when they last published.
    pub(super) fn used(&self) -> usize {
        let others = self.0.budget.used().saturating_sub(self.0.published.get());
        others.saturating_add(self.0.bytes.get())
    }

    /// Whether starts are held back, and runs leave memory that could.
    pub(super) fn is_half_full(&self) -> bool {
        self.used() >= self.0.budget.max() / 2
    }

    /// Whether everything goes piece by piece.
    pub(super) fn is_full(&self) -> bool {
        self.used() >= self.0.budget.max()
    }

    /// Tells the budget how many bytes there are.
    pub(super) fn publish(&self) {
        let (bytes, published) = (self.0.bytes.get(), self.0.published.get());
        self.0.published.set(bytes);
        match bytes.checked_sub(published) {
            Some(more) => _ = self.0.budget.0.used.fetch_add(more, Ordering::Relaxed),
            None => self.0.budget.give_back(published - bytes),
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.budget.give_back(self.published.get());
    }
}

impl Held {
    /// From now on there are that many bytes.
    pub(super) fn resize(&mut self, bytes: usize) {
        self.tally.0.bytes.update(|sum| sum - self.bytes + bytes);
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.tally.0.bytes.update(|sum| sum - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn starts_get_half_of_the_budget() {
        let budget = MemoryBudget::new(1_000);
        let first = budget.take_for_start(400).expect("there is room");
        assert!(budget.take_for_start(101).is_none());
        let _second = budget.take_for_start(100).expect("there is room");
        assert_eq!(budget.used(), 500);
        drop(first);
        assert_eq!(budget.used(), 100);
    }

    #[test]
    fn outcome_waits_for_room_unless_no_other_is_on_its_way() {
        let budget = MemoryBudget::new(1_000);
        // Given a memory that is full of other things
        let others = budget.take(1_000);
        let first = budget.take_for_outcome(5_000).now_or_never().expect("one always fits");
        let mut second = Box::pin(budget.take_for_outcome(450));
        let mut third = Box::pin(budget.take_for_outcome(300));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        // When there is room for both again, then one wakes the other
        drop(others);
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        let third = (&mut third).now_or_never().expect("there is room");
        let second = (&mut second).now_or_never().expect("there is room");
        assert_eq!(budget.used(), 750);
        drop((second, third));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn processor_sees_its_own_bytes_at_once_and_those_of_others_once_they_are_published() {
        let budget = MemoryBudget::new(1_000);
        let (one, other) = (Tally::new(budget.clone()), Tally::new(budget.clone()));
        let mut held = one.hold(300);
        assert_eq!((one.used(), other.used(), budget.used()), (300, 0, 0));
        one.publish();
        let kept = other.hold(500);
        assert_eq!((one.used(), other.used(), budget.used()), (300, 800, 300));
        other.publish();
        held.resize(500);
        assert!(one.is_full() && one.is_half_full());
        one.publish();
        assert_eq!((one.used(), other.used(), budget.used()), (1_000, 1_000, 1_000));
        // A processor that ends gives back what it has published
        drop((one, held));
        assert_eq!((other.used(), budget.used()), (500, 500));
        drop((other, kept));
        assert_eq!(budget.used(), 0);
    }
}
