//! A turn: a time slice of work on runs. It must not know the work or a clock: its creator decides when it is over.

use crate::data::time::Timestamp;

/// The time for which a processor works on runs before it handles heartbeats, appends and effects.
pub(crate) struct Turn<'a> {
    /// The time by the store's clock, for everything in this turn.
    pub(crate) now: Timestamp,
    over: &'a dyn Fn() -> bool,
}

impl<'a> Turn<'a> {
    /// A turn that lasts until `over` returns true.
    pub(crate) fn new(now: Timestamp, over: &'a dyn Fn() -> bool) -> Self {
        Self { now, over }
    }

    /// A turn without an end.
    pub(crate) fn endless(now: Timestamp) -> Self {
        Self { now, over: &|| false }
    }

    /// Whether the turn is over.
    pub(crate) fn is_over(&self) -> bool {
        (self.over)()
    }
}
