//! The account of updates and their replies: none that was accepted disappears, and no reply is contradicted. It must not know
//! what is asked for.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pgworkflows_core::history::{Event, HistoryEvent};
use pgworkflows_core::id::{MessageId, RunId};
use pgworkflows_core::store::{Append, MessageRef, Reply};

use super::RunAccount;

/// What is known of updates.
#[derive(Clone, Debug, Default)]
pub(super) struct UpdateAccounts {
    /// The updates that were submitted, with the runs that they were sent to.
    sent: BTreeMap<MessageRef, RunId>,
    /// Those that are in a log.
    received: BTreeSet<MessageId>,
    /// The replies that were written.
    replies: BTreeMap<MessageId, Bytes>,
}

impl UpdateAccounts {
    /// An update was put into the inbox. One that was refused is not delivered again.
    pub(super) fn submitted(&mut self, at: MessageRef, run: RunId, violations: &mut Vec<String>) {
        let is_refused = self.replies.contains_key(&at.message) && !self.received.contains(&at.message);
        if is_refused {
            violations
                .push(format!("run {run}: update {:?} was refused, and is delivered again", at.message));
        }
        self.sent.insert(at, run);
    }

    /// Every event that replies is written with its reply, and what else is replied to is consumed and not in a log. An update that
    /// is consumed is in a log, has a reply, or was too late.
    pub(super) fn appended(
        &mut self,
        append: &Append,
        events: &[Vec<HistoryEvent>],
        is_over: impl Fn(RunId) -> bool,
        violations: &mut Vec<String>,
    ) {
        let mut replied = BTreeSet::new();
        for event in events.iter().flatten() {
            match &event.event {
                Event::UpdateReceived { message, .. } => {
                    self.received.insert(*message);
                    if self.replies.contains_key(message) {
                        violations.push(format!("update {message:?} is in a log, and had its reply before"));
                    }
                }
                Event::UpdateReplied { message, .. } | Event::UpdateDropped { message, .. } => {
                    replied.insert(*message);
                }
                _ => {}
            }
        }
        for Reply { run, message, body } in &append.replies {
            let is_refusal = !replied.remove(message);
            if is_refusal && self.received.contains(message) {
                violations.push(format!("run {run}: update {message:?} is in a log, and was refused"));
            }
            if self.replies.insert(*message, body.clone()).is_some_and(|before| before != *body) {
                violations.push(format!("run {run}: update {message:?} has two replies that differ"));
            }
        }
        for message in replied {
            violations.push(format!("update {message:?} has a reply in a log, and no client can read it"));
        }
        for message in append.consumed.iter().chain(&append.undelivered) {
            let Some(run) = self.sent.remove(message) else { continue };
            let id = &message.message;
            if !self.received.contains(id) && !self.replies.contains_key(id) && !is_over(run) {
                violations.push(format!("run {run}: update {id:?} was consumed, and nothing became of it"));
            }
        }
    }
}

/// Whether the run of this id, or the one that goes on in its chain, is over.
pub(super) fn is_over(runs: &BTreeMap<RunId, RunAccount>, run: RunId) -> bool {
    let first = runs.get(&run).and_then(|account| account.first).unwrap_or(run);
    let mut chain = runs.iter().filter(|(id, account)| **id == first || account.first == Some(first));
    chain.all(|(_, account)| account.is_over)
}
