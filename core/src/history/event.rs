//! An event of a history as people read it. It must not know where the history came from.

use chrono::{DateTime, Utc};

use crate::data::id::{EventSeq, RunId};
use crate::error::Error;
use crate::log::event::Event;
use crate::log::wire;
use crate::store::error::StoreError;
use crate::store::history::EventRecord;

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEvent {
    /// Its number within the run.
    pub seq: EventSeq,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened.
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
