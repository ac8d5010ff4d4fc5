//! A decoded event of a history. It must not know where the history came from.

use chrono::{DateTime, Utc};

use crate::data::id::{EventSeq, RunId};
use crate::error::Error;
use crate::log::event::Event;
use crate::log::wire;
use crate::store::error::StoreError;
use crate::store::history::EventRecord;

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

impl HistoryEvent {
    pub(crate) fn read(run: RunId, record: EventRecord) -> Result<Self, Error> {
        let event = wire::decode_event(record.name.as_str(), &record.body).map_err(|error| {
            StoreError::corrupt(format!(
                "event {} of run {run}, `{}`, cannot be read: {error}; use the build that wrote it, or a newer one",
                record.seq, record.name
            ))
        })?;
        Ok(Self { seq: record.seq, at: record.at.into(), event })
    }
}
