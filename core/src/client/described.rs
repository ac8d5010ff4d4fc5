//! What a run waits for according to its history, for a description whose row does not say so. It must not know how people are shown
//! it.
//!
//! The row and the history are read one after the other, and the run goes on in between. They belong together if the row was read
//! between two reads of the history of which the second one found nothing new: a row changes only with an event.

use crate::client::call::ClientShared;
use crate::client::info::{RunInfo, RunStatus};
use crate::data::id::{EventSeq, RunId};
use crate::data::limits;
use crate::data::wait::Wait;
use crate::error::Error;
use crate::log::past_event::PastEvent;
use crate::log::stored_history::decode;
use crate::run::WAITS_SHOWN;
use crate::run::state::RunState;
use crate::store::frame::Frame;
use crate::store::history::{Load, RunHistory};

impl ClientShared {
    /// Describes the current run of a run's chain, with what its history says that it waits for, if its row does not say so. Of a
    /// run that goes on faster than it can be read, and of one with a long history, it says no more than the row.
    pub(super) async fn describe_with_history(&self, run: RunId) -> Result<RunInfo, Error> {
        let mut info = self.describe_current(run).await?;
        let mut history = RunHistory { run: info.run_id, frames: Vec::new() };
        for _ in 0..=limits::WAITS_READS_MAX {
            if info.status != RunStatus::Running || !info.waits.is_empty() {
                return Ok(info);
            }
            if info.run_id != history.run {
                history = RunHistory { run: info.run_id, frames: Vec::new() };
            }
            let is_first = history.frames.is_empty();
            let Some(news) = self.news_of(&history).await? else { return Ok(info) };
            if news.is_empty() && !is_first {
                info.waits = logged_waits(&history);
                return Ok(info);
            }
            history.frames.extend(news);
            info = self.describe_current(info.run_id).await?;
        }
        Ok(info)
    }

    /// The frames that the store has beyond those that were read; `None` if all of them together are too many bytes.
    async fn news_of(&self, known: &RunHistory) -> Result<Option<Vec<Frame>>, Error> {
        let after: Option<EventSeq> = known.frames.last().map(|frame| frame.seq);
        let read: usize = known.frames.iter().map(Frame::bytes).sum();
        let Some(bytes) = limits::WAITS_HISTORY_BYTES_MAX.checked_sub(read) else { return Ok(None) };
        let load = Load { runs: vec![known.run], after, bytes };
        let loaded = self.retry(|| self.store.query().load(&load)).await?;
        let frames = loaded.histories.into_iter().flat_map(|part| part.frames).collect();
        Ok(loaded.cut.is_none().then_some(frames))
    }
}

/// What a run waits for according to its history. One that this build cannot read says nothing.
fn logged_waits(history: &RunHistory) -> Vec<Wait> {
    let mut state = RunState::new(history.run);
    for past in decode(history) {
        match past {
            Ok(PastEvent { at, event, seq }) if state.closed.is_none() && seq == state.next_seq() => {
                state.apply(at, &event);
            }
            Ok(_) | Err(_) => return Vec::new(),
        }
    }
    state.waits(WAITS_SHOWN)
}
