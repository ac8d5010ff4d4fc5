//! Has a run go on that a client paused, that was left alone, or that has stalled, because somebody says that the reason is
//! gone. It must not know the reason.
//!
//! A run that has stalled is tried again by loading it: its code replays its history, and goes on if it can. So the run leaves
//! memory first, as soon as nothing of it is on its way. If the owner dies before that, the next one loads all stalled runs
//! anyway.

use crate::data::id::{CommandId, RunId};
use crate::data::time::Timestamp;
use crate::processor::group::{Group, SuspectChange};
use crate::processor::live::Live;
use crate::processor::received::Received;
use crate::processor::record::Recorder;
use crate::store::inbox::MessageRef;

/// What follows from a request to resume a run.
pub(super) enum TakenUp {
    /// It is delivered to the run, as any message.
    Delivers,
    /// It is consumed, or is among these messages, which must be read again, in order.
    Done(Option<Vec<MessageRef>>),
}

impl Recorder<'_> {
    /// A request to resume a run was read: from now on the run is not left alone. If it was set aside, its strikes are gone with
    /// the same commit that consumes the request, so that no repetition takes later strikes away.
    pub(super) fn take_up(&mut self, id: RunId, request: MessageRef) -> TakenUp {
        let passed_over = self.runs.take_up(id);
        let suspect = self.suspects.resume(id);
        if passed_over.is_some()
            && let Some(live) = self.runs.get_mut(id)
        {
            live.resume();
        }
        let mut again = passed_over.unwrap_or_default();
        if suspect.is_some() {
            self.consume_resume(id, request, suspect);
            if !self.runs.contains(id) {
                self.admission().want(id, Vec::new());
            }
        } else if again.is_empty() {
            return TakenUp::Delivers;
        } else {
            // After the messages that came before it.
            again.push(request);
        }
        TakenUp::Done(Some(again).filter(|again| !again.is_empty()))
    }

    fn consume_resume(&mut self, id: RunId, request: MessageRef, suspect: Option<SuspectChange>) {
        let mut group = Group::new(id);
        group.consumed.push(request);
        group.suspect = suspect;
        match self.runs.get_mut(id) {
            Some(live) => live.queue(group, self.outbox),
            None => self.outbox.push(group),
        }
    }

    /// Delivers a request to resume a run in memory: ends its pause, and has it tried again if it has stalled and was not just
    /// loaded.
    pub(super) fn resume(&mut self, id: RunId, request: MessageRef, was_tried: bool, now: Timestamp) {
        let Some(live) = self.runs.get_mut(id) else { return };
        if live.state().stalled.is_some() && !was_tried {
            live.resume();
        }
        let was_paused = live.state().paused.is_some();
        let progress = live.run().unpause(now, request.message);
        self.record(id, progress, &[request], now);
        if !was_paused {
            return;
        }
        // What was to begin during the pause.
        let in_flight = |live: &Live| live.state().activities_in_flight().collect();
        let in_flight: Vec<CommandId> = self.runs.get(id).map(in_flight).unwrap_or_default();
        self.dispatch(id, in_flight, now);
    }

    /// A message to a run that is left alone stays in the inbox. A request to resume it was of no use, unless the run was set aside
    /// after it: then the next owner finds it.
    pub(super) fn pass_over(&mut self, id: RunId, received: Received) {
        if !received.is_resume() || self.suspects.is_aside(id) {
            return self.runs.pass_over(id, received.reference);
        }
        self.consume_resume(id, received.reference, None);
    }

    /// Has a run in memory loaded again, and its messages delivered to it afterwards.
    pub(super) fn load_again(&mut self, id: RunId) {
        if let Some((_, arrivals)) = self.runs.forget(id) {
            self.admission().want(id, arrivals.into());
        }
    }
}
