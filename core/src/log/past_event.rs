//! The decoded events of a history. It must not know where a history comes from.

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

/// Decodes a history event by event, because a replay needs only one of them at a time.
pub(crate) fn decode(history: &RunHistory) -> impl Iterator<Item = Result<PastEvent, String>> {
    history.events.iter().map(decode_record)
}

/// Decodes one event of a history.
pub(crate) fn decode_record(record: &EventRecord) -> Result<PastEvent, String> {
    let event = wire::decode_event(record.name.as_str(), &record.body)
        .map_err(|error| format!("event {}: {error}", record.seq))?;
    Ok(PastEvent { seq: record.seq, at: record.at, event })
}
