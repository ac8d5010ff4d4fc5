//! The slots in which attempts and steps are executed: a number of them at a time, the others wait. It must not know what is
//! executed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A number of slots. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    count: usize,
    free: Arc<Semaphore>,
    /// How much work waits for a slot.
    waiting: Arc<AtomicUsize>,
    /// Notified when a slot is free again.
    freed: Arc<Notify>,
}

impl Slots {
    pub(crate) fn new(count: usize, freed: Arc<Notify>) -> Self {
        Self { count, free: Arc::new(Semaphore::new(count)), waiting: Arc::default(), freed }
    }

    /// For how much more work there is a slot at once.
    pub(crate) fn room(&self) -> usize {
        self.free.available_permits().saturating_sub(self.waiting.load(Ordering::Relaxed))
    }

    /// Whether so much work waits that more would be executed sooner elsewhere: as much as there are slots.
    pub(crate) fn is_overfull(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= self.count
    }

    /// Joins the line. The work waits from now on, although it may begin to wait for its turn later.
    pub(crate) fn line_up(&self) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting { slots: self.clone() }
    }
}

/// A place in the line for a slot.
#[derive(Debug)]
pub(crate) struct Waiting {
    slots: Slots,
}

impl Waiting {
    /// Waits for a slot.
    pub(crate) async fn slot(self) -> Option<Slot> {
        let permit = Arc::clone(&self.slots.free).acquire_owned().await.ok()?;
        Some(Slot { permit: Some(permit), freed: Arc::clone(&self.slots.freed) })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.slots.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A slot in use. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    freed: Arc<Notify>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // First the slot, so that whoever is notified finds it free.
        self.permit = None;
        self.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_what_is_free_and_not_waited_for() {
        // Given two slots
        let slots = Slots::new(2, Arc::default());
        assert_eq!(slots.room(), 2);
        // When one piece of work waits, it has its slot for certain
        let first = slots.line_up();
        assert_eq!((slots.room(), slots.is_overfull()), (1, false));
        let first = first.slot().await;
        let others = [slots.line_up(), slots.line_up()];
        // Then there is no room for more, and as many wait as there are slots
        assert_eq!((slots.room(), slots.is_overfull()), (0, true));
        drop(others);
        assert_eq!((slots.room(), slots.is_overfull()), (1, false));
        drop(first);
        slots.freed.notified().await;
        assert_eq!(slots.room(), 2);
    }
}
