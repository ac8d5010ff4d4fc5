//! The events of a history. It must not know where a history comes from.

use bytes::Bytes;

use super::event::{Event, EventKind};
use super::wire;
use super::wire::frame::FrameEvents;
use crate::data::id::{EventSeq, RunId};
use crate::data::time::Timestamp;
use crate::store::history::RunHistory;

/// One event of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastEvent {
    pub(crate) seq: EventSeq,
    pub(crate) at: Timestamp,
    pub(crate) event: Event,
}

/// One event of a history, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredEvent {
    pub(crate) seq: EventSeq,
    pub(crate) at: Timestamp,
    pub(crate) kind: EventKind,
    pub(crate) body: Bytes,
}

impl StoredEvent {
    pub(crate) fn decode(&self) -> Result<PastEvent, String> {
        let Self { seq, at, kind, body } = self;
        let event = wire::decode_event(*kind, body).map_err(|error| format!("event {seq}: {error}"))?;
        Ok(PastEvent { seq: *seq, at: *at, event })
    }
}

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
    let frames = history.frames.iter().cloned().map(FrameEvents::new);
    frames.flat_map(|mut events| std::iter::from_fn(move || events.next()))
}
