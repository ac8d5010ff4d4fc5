//! Whether an update is in the history of its run. It must not know what follows from that.

use crate::client::call::ClientShared;
use crate::data::id::{MessageId, RunId};
use crate::data::limits;
use crate::error::Error;
use crate::log::event::Event;
use crate::log::stored_history::decode;
use crate::store::error::StoreError;
use crate::store::history::Load;

impl ClientShared {
    /// Whether the run has received an update, according to its history, which is read part by part. Of a chain, that is the
    /// current run, which has all updates that the others have left.
    pub(super) async fn has_update(&self, run: RunId, update: MessageId) -> Result<bool, Error> {
        let run = self.describe_current(run).await?.run_id;
        let mut after = None;
        loop {
            let load = Load { runs: vec![run], after, bytes: limits::PAGE_BYTES_MAX };
            let loaded = self.retry(|| self.store.query().load(&load)).await?;
            for past in loaded.histories.iter().flat_map(decode) {
                let past =
                    past.map_err(|error| StoreError::corrupt(format!("the history of run {run}: {error}")))?;
                if matches!(past.event, Event::UpdateReceived { message, .. } if message == update) {
                    return Ok(true);
                }
            }
            after = loaded.histories.iter().flat_map(|part| part.frames.last()).map(|frame| frame.seq).next();
            if loaded.cut.is_none() {
                return Ok(false);
            }
        }
    }
}
