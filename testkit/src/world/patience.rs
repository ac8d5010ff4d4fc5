//! Notices that time passes without progress: an activity that polls forever for something that never appears, a step
//! that is retried forever. It must not know what is waited for.

use std::cell::Cell;

use super::World;

/// How often time may pass for attempts in flight while nothing is logged.
const PAUSES_MAX: u32 = 50_000;

/// The patience of one wait.
pub(crate) struct Patience<'a> {
    world: &'a World,
    events: Cell<u64>,
    pauses: Cell<u32>,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self { world, events: Cell::new(world.store.event_count()), pauses: Cell::new(0) }
    }

    /// Called before time passes once more. Whether to give up instead.
    pub(crate) fn ends(&self) -> bool {
        let events = self.world.store.event_count();
        if self.events.replace(events) != events {
            self.pauses.set(0);
        }
        // Otherwise a run sleeps, and only heartbeats happen meanwhile.
        if self.world.has_attempt_with_timer() {
            self.pauses.set(self.pauses.get() + 1);
        }
        self.has_ended()
    }

    /// Whether the wait was given up.
    pub(crate) fn has_ended(&self) -> bool {
        self.pauses.get() > PAUSES_MAX
    }
}
