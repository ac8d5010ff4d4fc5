//! Tries a run again that was left alone or has stalled, because somebody says that the reason is gone. It must not know the
//! reason.
//!
//! A run is tried by loading it: its code replays its history, and goes on if it can. So the run leaves memory first, as
//! soon as nothing of it is on its way. If the owner dies before that, the next one loads all stalled runs anyway.

use crate::data::id::RunId;
use crate::processor::group::Group;
use crate::processor::record::Recorder;
use crate::store::inbox::MessageRef;

impl Recorder<'_> {
    /// Takes a request to resume a run, whatever the run does. If it was set aside, its strikes are gone with the same commit.
    /// Returns the messages that must be read again, if any.
    pub(super) fn resume(&mut self, id: RunId, request: MessageRef) -> Option<Vec<MessageRef>> {
        let passed_over = self.runs.take_up(id);
        let mut group = Group::new(id);
        group.consumed.push(request);
        group.suspect = self.suspects.resume(id);
        if let Some(live) = self.runs.get_mut(id) {
            if passed_over.is_some() || live.state().stalled.is_some() {
                live.resume();
            }
            live.queue(group, self.outbox);
        } else {
            self.outbox.push(group);
            // Only its history says whether it has stalled.
            self.admission().want(id, Vec::new());
        }
        passed_over.filter(|messages| !messages.is_empty())
    }

    /// Has a run in memory loaded again, and its messages delivered to it afterwards.
    pub(super) fn load_again(&mut self, id: RunId) {
        if let Some((_, arrivals)) = self.runs.forget(id) {
            self.admission().want(id, arrivals.into());
        }
    }
}
