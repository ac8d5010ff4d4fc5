//! What a processor does as memory becomes scarce: it holds starts back first, and then takes everything in piece by piece.
//! It must not know how bytes are counted.

use crate::data::limits;
use crate::data::time::Timestamp;
use crate::processor::Processor;
use crate::processor::loads::Starts;

impl Processor {
    /// Whether runs are still to be loaded, or messages to be delivered: while memory is full, nothing more is read for them.
    pub(super) fn has_to_take_in(&self) -> bool {
        self.loads.has_wanted() || !self.histories.is_empty() || self.runs.has_received()
    }

    /// Whether there is room for starts. A run always has a place if there is no other.
    pub(super) fn starts(&self) -> Starts {
        if !self.memory.is_half_full() || (self.runs.len() == 0 && !self.has_to_take_in()) {
            Starts::Welcome
        } else {
            Starts::HeldBack
        }
    }

    /// Has a run leave memory that rests there: if starts are held back otherwise, or if it has rested for a while.
    pub(super) fn make_room(&mut self) -> bool {
        let is_scarce = self.memory.is_half_full();
        let resting = if is_scarce { self.runs.next_resting() } else { self.runs.next_rested() };
        resting.inspect(|run| self.recorder().end_rest(*run)).is_some()
    }

    /// Whether so much memory is in use that everything goes piece by piece.
    pub(crate) fn is_full(&self) -> bool {
        self.memory.is_full()
    }

    /// Whether so much waits to be written that no outcome should be taken in.
    pub(crate) fn has_much_to_write(&self) -> bool {
        self.outbox.is_full()
    }

    /// Tells the worker how much memory is in use here, and the log, once in a while, that starts are held back.
    pub(crate) fn publish_memory(&mut self, now: Timestamp) {
        self.memory.publish();
        let told = self.told_of_starts.is_some_and(|at| now.saturating_since(at) < limits::HELD_BACK_LOGGED);
        if self.loads.has_starts() && !told {
            self.told_of_starts = Some(now);
            let (worker, runs) = (&self.setup.config.worker, self.runs.len());
            let (used, limit) = (self.memory.used(), self.setup.config.memory.max());
            tracing::warn!(
                %worker, lease = %self.setup.lease, used, limit, runs,
                "starts wait in the inbox, because half of the memory budget is used; they begin as runs end. Raise \
                 `memory_max` of the worker's builder, or add workers"
            );
        }
    }
}
