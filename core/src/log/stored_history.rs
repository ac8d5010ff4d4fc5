//! The events of a run's frames, in order. It must not know where the frames come from, or what an event says.

use super::past_event::{PastEvent, StoredEvent};
use super::wire::frame::FrameEvents;
use crate::data::id::RunId;
use crate::store::history::RunHistory;

/// A run's events as they are stored, whichever frames they were in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredHistory {
    pub(crate) run: RunId,
    pub(crate) events: Vec<StoredEvent>,
}

impl StoredHistory {
    /// Takes the events out of their frames. The error describes a frame that is damaged.
    pub(crate) fn new(history: &RunHistory) -> Result<Self, String> {
        let frames = history.frames.iter().cloned().map(FrameEvents::new);
        let events = frames.flat_map(|mut events| std::iter::from_fn(move || events.next_stored()));
        Ok(Self { run: history.run, events: events.collect::<Result<_, _>>()? })
    }
}

/// Decodes a history event by event, because a replay needs only one of them at a time.
pub(crate) fn decode(history: &RunHistory) -> impl Iterator<Item = Result<PastEvent, String>> {
    let mut frames = history.frames.iter().cloned().map(FrameEvents::new);
    let mut frame = frames.next();
    std::iter::from_fn(move || {
        while frame.as_ref()?.is_over() {
            frame = frames.next();
        }
        frame.as_mut()?.next()
    })
}
