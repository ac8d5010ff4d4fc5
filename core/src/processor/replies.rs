//! Replies to updates: those that follow from a run's events, and those by which an update is refused. It must not know who
//! waits for one.

use crate::data::id::RunId;
use crate::log::event::Event;
use crate::log::reply::Reply;
use crate::log::wire::reply::encode_reply;
use crate::processor::group::Group;
use crate::processor::record::Recorder;
use crate::store::append;
use crate::store::inbox::MessageRef;

/// The reply that follows from an event of a run, if one does.
pub(super) fn replied_by(run: RunId, event: &Event) -> Option<append::Reply> {
    let (message, reply) = if let Event::UpdateReplied { message, answer, .. } = event {
        (*message, Reply::Answered(answer.clone()))
    } else if let Event::UpdateDropped { message, .. } = event {
        (*message, Reply::Dropped)
    } else {
        return None;
    };
    Some(append::Reply { run, message, body: encode_reply(&reply) })
}

impl Recorder<'_> {
    /// Refuses an update: the reply is written by the append that consumes the message, and nothing is logged.
    pub(super) fn refuse(&mut self, run: RunId, reference: MessageRef, reply: &Reply) {
        let mut group = Group::new(run);
        group.consumed.push(reference);
        group.replies.push(append::Reply { run, message: reference.message, body: encode_reply(reply) });
        match self.runs.get_mut(run) {
            Some(live) => live.queue(group, self.outbox),
            None => self.outbox.push(group),
        }
    }
}
