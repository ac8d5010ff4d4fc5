//! Local resolutions, which a run makes for itself while it is polled, such as recorded values. A live poll makes them,
//! and they are logged right after the resolution of the poll; a replay takes them from the log. It must not know their
//! kinds.

use crate::log::event::Event;
use crate::log::past_event::PastEvent;

/// The local resolutions of one poll. They have no call number: their key is their kind, their name, and their position
/// among those of the same kind and name.
#[derive(Debug)]
pub(crate) enum Locals {
    /// Those that a live poll has made so far, and their approximate size in the log.
    Live { events: Vec<Event>, bytes: usize },
    /// Those that the log contains for a replayed poll and that its code has not asked for yet, the last
    /// first.
    Recorded(Vec<PastEvent>),
}

impl Default for Locals {
    fn default() -> Self {
        Self::Live { events: Vec::new(), bytes: 0 }
    }
}

impl Locals {
    /// Those that the log contains for a poll, in its order.
    pub(crate) fn recorded(mut events: Vec<PastEvent>) -> Self {
        events.reverse();
        Self::Recorded(events)
    }

    /// Whether the poll is part of a replay, so that its decisions are logged already.
    pub(crate) fn are_recorded(&self) -> bool {
        matches!(self, Self::Recorded(_))
    }

    /// How many the poll has made.
    pub(crate) fn new_count(&self) -> usize {
        match self {
            Self::Live { events, .. } => events.len(),
            Self::Recorded(_) => 0,
        }
    }

    /// The approximate size in the log of those that the poll has made, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Live { bytes, .. } => *bytes,
            Self::Recorded(_) => 0,
        }
    }

    /// Adds one that the poll has made.
    pub(crate) fn push(&mut self, local: Event, size: usize) {
        if let Self::Live { events, bytes } = self {
            events.push(local);
            *bytes += size;
        }
    }

    /// Takes the oldest match from the log.
    pub(crate) fn take(&mut self, is_match: impl Fn(&Event) -> bool) -> Option<Event> {
        let Self::Recorded(recorded) = self else { return None };
        // Code that matches its log asks for the oldest, which is at the end.
        let index = recorded.iter().rposition(|past| is_match(&past.event))?;
        Some(recorded.remove(index).event)
    }

    /// Takes the first one in the log that the code has not asked for.
    pub(crate) fn take_unclaimed(&mut self) -> Option<PastEvent> {
        match self {
            Self::Live { .. } => None,
            Self::Recorded(recorded) => recorded.pop(),
        }
    }

    /// Returns those that have to be logged.
    pub(crate) fn into_new(self) -> Vec<Event> {
        match self {
            Self::Live { events, .. } => events,
            Self::Recorded(_) => Vec::new(),
        }
    }
}
