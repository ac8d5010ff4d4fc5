//! `client.history_page`: a history in parts, for those who show it, or follow a run. It must not know what an event says.

use serde::Serialize;

use crate::client::Client;
use crate::data::id::{EventSeq, RunId};
use crate::data::limits;
use crate::error::Error;
use crate::history::event::HistoryEvent;
use crate::history::{History, LastEvents};
use crate::store::history::{Load, RunHistory};

/// A part of a history, made by [`Client::history_page`], which has an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The events, in order, without a gap to those of the page before.
    pub events: Vec<HistoryEvent>,
    /// Whether the run had no further event when the page was read.
    pub is_last: bool,
}

impl HistoryPage {
    /// The number of its last event, after which the next page begins; `None` if it has no event.
    pub fn end(&self) -> Option<EventSeq> {
        self.events.last().map(|event| event.seq)
    }
}

impl Client {
    /// Returns the events of a run that follow those of an earlier page, in order: about 1 MiB of them at most. So a
    /// history of any length is read in bounded memory, and a run is followed without reading again what is known.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows::RunId;
    /// async fn count(client: &Client, run: RunId) -> Result<usize, pgworkflows::Error> {
    ///     let (mut count, mut after) = (0, None);
    ///     loop {
    ///         let page = client.history_page(run, after).await?;
    ///         count += page.events.len();
    ///         after = page.end().or(after);
    ///         if page.is_last {
    ///             return Ok(count);
    ///         }
    ///     }
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let client = Client::new(pgworkflows::MemoryStore::new());
    /// # let run = client.start_named("order", serde_json::json!(7)).await?.run_id();
    /// assert_eq!(count(&client, run).await?, 0); // No worker has begun this run.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `after` is the [end](HistoryPage::end) of an earlier page: events are stored in groups, and a number within a group
    /// begins the page with the next group.
    ///
    /// # Errors
    /// * [`Error::is_unknown_run`]: there is no such run.
    /// * [`Error::is_unavailable`]: the store did not answer.
    /// * Any other error: an event is damaged, or was written by a newer build. The error names the event.
    pub async fn history_page(&self, run: RunId, after: Option<EventSeq>) -> Result<HistoryPage, Error> {
        let load = Load { runs: vec![run], after, bytes: limits::HISTORY_PAGE_BYTES };
        let loaded = self.shared.retry(|| self.shared.store.query().load(&load)).await?;
        let frames: Vec<_> = loaded.histories.into_iter().flat_map(|part| part.frames).collect();
        if frames.is_empty() && after.is_none() {
            // A run that no worker has begun has no events; a run that does not exist is an error.
            self.shared.describe(run).await?;
        }
        let events = History::new(&RunHistory { run, frames })?.events()?;
        Ok(HistoryPage { events, is_last: loaded.cut.is_none() })
    }

    /// Returns the last events of a run, at most `limit` of them, for people. The history is read in parts of about 1 MiB, and
    /// no more than these events is kept, however long it is.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let client = Client::new(pgworkflows::MemoryStore::new());
    /// let run = client.start_named("order", serde_json::json!(7)).await?.run_id();
    /// let last = client.last_events(run, 20).await?;
    /// assert!(last.is_empty() && last.skipped() == 0); // No worker has begun this run.
    /// print!("{last}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// * [`Error::is_unknown_run`]: there is no such run.
    /// * [`Error::is_unavailable`]: the store did not answer.
    /// * Any other error: a group of events is damaged.
    pub async fn last_events(&self, run: RunId, limit: usize) -> Result<LastEvents, Error> {
        let (mut last, mut after) = (LastEvents::of(run, limit), None);
        loop {
            let load = Load { runs: vec![run], after, bytes: limits::HISTORY_PAGE_BYTES };
            let loaded = self.shared.retry(|| self.shared.store.query().load(&load)).await?;
            for part in &loaded.histories {
                last.take(part)?;
                after = part.frames.last().map(|frame| frame.seq).or(after);
            }
            if loaded.cut.is_none() {
                break;
            }
        }
        if last.is_empty() {
            // A run that no worker has begun has no events; a run that does not exist is an error.
            self.shared.describe(run).await?;
        }
        Ok(last)
    }
}
