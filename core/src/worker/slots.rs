//! The slots in which attempts and steps are executed: a number of them at a time, the others wait. It must not know what is
//! executed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::data::limits;

/// A number of slots. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Slots(Arc<Shared>);

/// One allocation, so that an attempt counts a single reference to what all threads share.
#[derive(Debug)]
struct Shared {
    count: usize,
    free: Semaphore,
    /// Notified when a slot is free again.
    freed: Arc<Notify>,
    /// How much work waits for a slot.
    waiting: AtomicUsize,
    /// How long all work takes that waits or has a slot, as far as that is known, in nanoseconds.
    nanos: AtomicU64,
    /// How much of it are tasks.
    tasks: AtomicUsize,
}

impl Slots {
    pub(crate) fn new(count: usize, freed: Arc<Notify>) -> Self {
        Self(Arc::new(Shared {
            count,
            free: Semaphore::new(count),
            freed,
            waiting: AtomicUsize::new(0),
            nanos: AtomicU64::new(0),
            tasks: AtomicUsize::new(0),
        }))
    }

    /// For how many more tasks there is room: one for each slot that is free at once. A share of the slots is for tasks, even
    /// if other work fills the line; otherwise work that keeps coming would keep all tasks out.
    pub(crate) fn room_for_tasks(&self) -> usize {
        let free = self.free();
        if free > 0 || self.wait() >= 2 * limits::OVERFLOW_WAIT {
            return free;
        }
        self.0.count.div_ceil(TASKS_SHARE).saturating_sub(self.0.tasks.load(Ordering::Relaxed))
    }

    /// Whether more work would wait so long for a slot that others should execute it.
    pub(crate) fn is_overfull(&self) -> bool {
        self.wait() >= limits::OVERFLOW_WAIT
    }

    /// About how long more work would wait for a slot.
    fn wait(&self) -> Duration {
        if self.free() > 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.0.nanos.load(Ordering::Relaxed) / self.0.count as u64)
    }

    /// How many slots are free, and not waited for.
    fn free(&self) -> usize {
        self.0.free.available_permits().saturating_sub(self.0.waiting.load(Ordering::Relaxed))
    }

    /// Joins the line: the work gets a slot at once if one is free that no other work waits for. Otherwise it waits from now
    /// on, although it may begin to wait for its turn later.
    pub(crate) fn line_up(&self, work: Work) -> Waiting {
        let has_slot = self.free() > 0 && self.0.free.try_acquire().map(SemaphorePermit::forget).is_ok();
        if !has_slot {
            self.0.waiting.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(work.takes.as_nanos()).unwrap_or(u64::MAX).min(NANOS_MAX);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
        if work.is_task {
            self.0.tasks.fetch_add(1, Ordering::Relaxed);
        }
        Waiting(Counted { slots: Arc::clone(&self.0), nanos, is_task: work.is_task, has_slot })
    }
}

/// Work that needs a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// About how long it takes.
    pub(crate) takes: Duration,
    /// Whether it is a task.
    pub(crate) is_task: bool,
}

/// A place in the line for a slot, or a slot.
#[derive(Debug)]
pub(crate) struct Waiting(Counted);

impl Waiting {
    /// Waits for a slot.
    pub(crate) async fn slot(mut self) -> Option<Slot> {
        if !self.0.has_slot {
            self.0.slots.free.acquire().await.ok()?.forget();
            self.0.has_slot = true;
            self.0.slots.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        Some(Slot { _counted: self.0 })
    }
}

/// A slot in use. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct Slot {
    _counted: Counted,
}

/// Work that is counted until this is dropped.
#[derive(Debug)]
struct Counted {
    slots: Arc<Shared>,
    nanos: u64,
    is_task: bool,
    /// It waits for one otherwise.
    has_slot: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.has_slot {
            self.slots.free.add_permits(1);
        } else {
            self.slots.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        self.slots.nanos.fetch_sub(self.nanos, Ordering::Relaxed);
        if self.is_task {
            self.slots.tasks.fetch_sub(1, Ordering::Relaxed);
        }
        if self.has_slot {
            // Last, so that the task which is notified finds the slot free.
            self.slots.freed.notify_one();
        }
    }
}

/// One slot of so many is for tasks.
const TASKS_SHARE: usize = 8;

/// The longest time that work is thought to take: a day, so that sums do not overflow.
const NANOS_MAX: u64 = 86_400_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const DEAR: Work = Work { takes: limits::OVERFLOW_WAIT, is_task: false };

    #[tokio::test]
    async fn room_is_what_is_free_and_not_waited_for() {
        // Given two slots
        let slots = Slots::new(2, Arc::default());
        assert_eq!(slots.room_for_tasks(), 2);
        // When one piece of work waits, it has its slot for certain
        let first = slots.line_up(DEAR);
        assert_eq!((slots.room_for_tasks(), slots.is_overfull()), (1, false));
        let first = first.slot().await;
        // Then there is no room for more while both slots are taken for long
        let others = [slots.line_up(DEAR), slots.line_up(DEAR), slots.line_up(DEAR)];
        assert_eq!((slots.room_for_tasks(), slots.is_overfull()), (0, true));
        drop(others);
        assert_eq!((slots.room_for_tasks(), slots.is_overfull()), (1, false));
        drop(first);
        slots.0.freed.notified().await;
        assert_eq!(slots.room_for_tasks(), 2);
    }

    #[test]
    fn line_is_as_long_as_its_work_takes() {
        let slots = Slots::new(2, Arc::default());
        // Given more cheap work than there are slots
        let cheap = Work { takes: limits::OVERFLOW_WAIT / 10, is_task: false };
        let mut line: Vec<_> = (0..19).map(|_| slots.line_up(cheap)).collect();
        assert!(!slots.is_overfull());
        // When the line takes too long
        line.push(slots.line_up(cheap));
        assert!(slots.is_overfull());
        // Then it is the time that counts, and not the number
        line.truncate(2);
        assert!(!slots.is_overfull());
        line.push(slots.line_up(Work { takes: Duration::MAX, is_task: false }));
        line.push(slots.line_up(Work { takes: Duration::MAX, is_task: false }));
        assert!(slots.is_overfull());
        drop(line);
        assert_eq!(slots.wait(), Duration::ZERO);
    }

    #[test]
    fn work_that_keeps_coming_leaves_a_share_for_tasks() {
        // Given a line of other work that is no longer than it may be
        let slots = Slots::new(16, Arc::default());
        let cheap = Work { takes: limits::OVERFLOW_WAIT / 10, is_task: false };
        let _line: Vec<_> = (0..160).map(|_| slots.line_up(cheap)).collect();
        assert!(slots.is_overfull());
        // Then there is room for tasks, up to their share
        assert_eq!(slots.room_for_tasks(), 2);
        let task = slots.line_up(Work { is_task: true, ..cheap });
        assert_eq!(slots.room_for_tasks(), 1);
        let other = slots.line_up(Work { is_task: true, ..cheap });
        assert_eq!(slots.room_for_tasks(), 0);
        drop((task, other));
        assert_eq!(slots.room_for_tasks(), 2);
    }
}
