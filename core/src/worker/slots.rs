//! The slots in which attempts and steps are executed: a number of them at a time, the others wait. It must not know what is
//! executed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::data::limits;

/// A number of slots. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    count: usize,
    free: Arc<Semaphore>,
    load: Arc<Load>,
    /// Notified when a slot is free again.
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Load {
    /// How much work waits for a slot.
    waiting: AtomicUsize,
    /// How long all work takes that waits or has a slot, as far as that is known, in nanoseconds.
    nanos: AtomicU64,
    /// How much of it are tasks.
    tasks: AtomicUsize,
}

impl Slots {
    pub(crate) fn new(count: usize, freed: Arc<Notify>) -> Self {
        Self { count, free: Arc::new(Semaphore::new(count)), load: Arc::default(), freed }
    }

    /// For how many more tasks there is room: one for each slot that is free at once. A share of the slots is for tasks, even
    /// if other work fills the line; otherwise work that keeps coming would keep all tasks out.
    pub(crate) fn room_for_tasks(&self) -> usize {
        let free = self.free();
        if free > 0 || self.wait() >= 2 * limits::OVERFLOW_WAIT {
            return free;
        }
        self.count.div_ceil(TASKS_SHARE).saturating_sub(self.load.tasks.load(Ordering::Relaxed))
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
        Duration::from_nanos(self.load.nanos.load(Ordering::Relaxed) / self.count as u64)
    }

    /// How many slots are free, and not waited for.
    fn free(&self) -> usize {
        self.free.available_permits().saturating_sub(self.load.waiting.load(Ordering::Relaxed))
    }

    /// Joins the line. The work waits from now on, although it may begin to wait for its turn later.
    pub(crate) fn line_up(&self, work: Work) -> Waiting {
        self.load.waiting.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(work.takes.as_nanos()).unwrap_or(u64::MAX).min(NANOS_MAX);
        self.load.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.load.tasks.fetch_add(usize::from(work.is_task), Ordering::Relaxed);
        let counted = Counted { load: Arc::clone(&self.load), nanos, is_task: work.is_task };
        Waiting { slots: self.clone(), counted: Some(counted) }
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

/// Work that is counted until this is dropped.
#[derive(Debug)]
struct Counted {
    load: Arc<Load>,
    nanos: u64,
    is_task: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.load.nanos.fetch_sub(self.nanos, Ordering::Relaxed);
        self.load.tasks.fetch_sub(usize::from(self.is_task), Ordering::Relaxed);
    }
}

/// A place in the line for a slot.
#[derive(Debug)]
pub(crate) struct Waiting {
    slots: Slots,
    counted: Option<Counted>,
}

impl Waiting {
    /// Waits for a slot.
    pub(crate) async fn slot(mut self) -> Option<Slot> {
        let permit = Arc::clone(&self.slots.free).acquire_owned().await.ok()?;
        Some(Slot {
            permit: Some(permit),
            counted: self.counted.take(),
            freed: Arc::clone(&self.slots.freed),
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.slots.load.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A slot in use. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    counted: Option<Counted>,
    freed: Arc<Notify>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // First the slot, so that whoever is notified finds it free.
        self.permit = None;
        self.counted = None;
        self.freed.notify_one();
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
        slots.freed.notified().await;
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
