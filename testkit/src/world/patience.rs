//! Notices that time passes and nothing comes of it: an activity that looks every second for what never is there, a
//! step that is tried again for ever. It must not know who waits.

use std::cell::Cell;

use super::World;

/// How often time may pass for attempts under way while nothing is logged.
const PAUSES_MAX: u32 = 50_000;

/// The patience of one who waits.
pub(crate) struct Patience<'a> {
    world: &'a World,
    events: Cell<u64>,
    pauses: Cell<u32>,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self { world, events: Cell::new(world.store.event_count()), pauses: Cell::new(0) }
    }

    /// Time is about to pass once more.
    pub(crate) fn ends(&self) -> bool {
        let events = self.world.store.event_count();
        if self.events.replace(events) != events {
            self.pauses.set(0);
        }
        // Else it is a run that sleeps, and a worker whose heart beats meanwhile.
        if self.world.has_attempt_with_timer() {
            self.pauses.set(self.pauses.get() + 1);
        }
        self.has_ended()
    }

    /// Whether that was why the wait ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.pauses.get() > PAUSES_MAX
    }
}
