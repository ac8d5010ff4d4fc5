//! One event of a history, as it is stored and decoded. It must not know where a history comes from.

use bytes::Bytes;

use super::event::{Event, EventKind};
use super::wire;
use crate::data::id::EventSeq;
use crate::data::time::Timestamp;

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
