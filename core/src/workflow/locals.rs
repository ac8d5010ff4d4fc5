//! Local resolutions: what a run resolves for itself while it is polled, such as a recorded value. Live they are made, and
//! logged right after the resolution of the poll; in a replay they are taken from there. It must not know which there are.

use std::collections::VecDeque;

use crate::log::event::Event;
use crate::log::past_event::PastEvent;

/// The local resolutions of one poll. They take no number of a call; their key is their kind, their name and how many
/// of these came before.
#[derive(Debug)]
pub(crate) enum Locals {
    /// Live: those that the poll has made so far, and about how many bytes they take in the log.
    Live { events: Vec<Event>, bytes: usize },
    /// In a replay: those that the log holds for the poll, and that its code has not asked for yet.
    Recorded(VecDeque<PastEvent>),
}

impl Default for Locals {
    fn default() -> Self {
        Self::Live { events: Vec::new(), bytes: 0 }
    }
}

impl Locals {
    /// Whether the poll is a replay's: what it decides is in the log already.
    pub(crate) fn are_recorded(&self) -> bool {
        matches!(self, Self::Recorded(_))
    }

    /// How many were made.
    pub(crate) fn new_count(&self) -> usize {
        match self {
            Self::Live { events, .. } => events.len(),
            Self::Recorded(_) => 0,
        }
    }

    /// About how many bytes those that were made take in the log.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Live { bytes, .. } => *bytes,
            Self::Recorded(_) => 0,
        }
    }

    /// Adds one that was made.
    pub(crate) fn push(&mut self, local: Event, size: usize) {
        if let Self::Live { events, bytes } = self {
            events.push(local);
            *bytes += size;
        }
    }

    /// Takes the oldest of that kind and name out of what the log holds.
    pub(crate) fn take(&mut self, is_match: impl Fn(&Event) -> bool) -> Option<Event> {
        let Self::Recorded(recorded) = self else { return None };
        // Code that follows its log asks for the first.
        let index = recorded.iter().position(|past| is_match(&past.event))?;
        recorded.remove(index).map(|past| past.event)
    }

    /// Takes the first that the log holds and nobody asked for.
    pub(crate) fn take_unclaimed(&mut self) -> Option<PastEvent> {
        match self {
            Self::Live { .. } => None,
            Self::Recorded(recorded) => recorded.pop_front(),
        }
    }

    /// Those that are to be logged.
    pub(crate) fn into_new(self) -> Vec<Event> {
        match self {
            Self::Live { events, .. } => events,
            Self::Recorded(_) => Vec::new(),
        }
    }
}
