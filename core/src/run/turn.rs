//! A turn of work, after which somebody else's is due. It must not know what is worked on, nor a clock: whoever gives
//! the turn says when it is over.

use crate::data::time::Timestamp;

/// How long runs may be worked on before the rest has to be looked after: heartbeats, appends, effects.
pub(crate) struct Turn<'a> {
    /// The time by the store's clock, for all that happens in this turn.
    pub(crate) now: Timestamp,
    over: &'a dyn Fn() -> bool,
}

impl<'a> Turn<'a> {
    /// A turn that lasts until `over` says so.
    pub(crate) fn new(now: Timestamp, over: &'a dyn Fn() -> bool) -> Self {
        Self { now, over }
    }

    /// A turn without an end.
    pub(crate) fn endless(now: Timestamp) -> Self {
        Self { now, over: &|| false }
    }

    /// Whether the rest has to be looked after now.
    pub(crate) fn is_over(&self) -> bool {
        (self.over)()
    }
}
