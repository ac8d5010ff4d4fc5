//! A decoded event of a history. It must not know where the history came from.

use chrono::{DateTime, Utc};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::data::id::{EventSeq, RunId};
use crate::error::Error;
use crate::log::event::Event;
use crate::log::json;
use crate::log::past_event::StoredEvent;
use crate::log::wire;
use crate::store::error::StoreError;

/// An event of a run, with its number and time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEvent {
    /// The event's number within the run, from 1 on.
    pub seq: EventSeq,
    /// When the event happened, by the store's clock.
    pub at: DateTime<Utc>,
    /// The event.
    pub event: Event,
}

/// Writes a row of the SQL view `history`: `seq`, `at`, `name` and `data`.
impl Serialize for HistoryEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("HistoryEvent", 4)?;
        row.serialize_field("seq", &self.seq.get())?;
        row.serialize_field("at", &json::time(self.at.into()))?;
        row.serialize_field("name", self.event.name())?;
        row.serialize_field("data", &self.event.data())?;
        row.end()
    }
}

impl HistoryEvent {
    pub(super) fn decode(run: RunId, stored: &StoredEvent) -> Result<Self, Error> {
        let StoredEvent { seq, at, kind, body } = stored;
        let event = wire::decode_event(*kind, body).map_err(|error| {
            StoreError::corrupt(format!(
                "event {seq} of run {run}, `{kind}`, cannot be read: {error}; use the build that wrote it, or a newer one",
            ))
        })?;
        Ok(Self { seq: *seq, at: (*at).into(), event })
    }
}
