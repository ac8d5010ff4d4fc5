//! The events of a history, decoded. It must not know where a history comes from.

use super::event::Event;
use super::wire;
use crate::data::id::EventSeq;
use crate::data::time::Timestamp;
use crate::store::history::{EventRecord, RunHistory};

/// One event of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastEvent {
    pub(crate) seq: EventSeq,
    pub(crate) at: Timestamp,
    pub(crate) event: Event,
}

/// A history in core's own terms, event by event: whoever replays it needs no more than one of them at a time.
pub(crate) fn decode(history: &RunHistory) -> impl Iterator<Item = Result<PastEvent, String>> {
    history.events.iter().map(decode_record)
}

/// One event of it.
pub(crate) fn decode_record(record: &EventRecord) -> Result<PastEvent, String> {
    let event = wire::decode_event(record.name.as_str(), &record.body)
        .map_err(|error| format!("event {}: {error}", record.seq))?;
    Ok(PastEvent { seq: record.seq, at: record.at, event })
}
