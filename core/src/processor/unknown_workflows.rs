//! The processor's part that tracks runs of workflows that are not registered here. Their messages stay in the inbox for a
//! worker that has the workflow; only their termination is written, because it needs no code. It must not know how that is
//! done.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::id::{RunId, ShardId};
use crate::log::message::Message;
use crate::processor::received::Received;
use crate::store::inbox::MessageRef;

/// The runs of unknown workflows that this processor has met.
#[derive(Default)]
pub(super) struct UnknownWorkflows(BTreeMap<RunId, UnknownRun>);

/// One such run.
#[derive(Default)]
struct UnknownRun {
    /// Its messages that were read and left in the inbox.
    left: Vec<MessageRef>,
    /// Whether its start is in the inbox, and no event is in the log.
    pending: bool,
    /// Whether it is terminated as soon as its start has been read again.
    terminating: bool,
    start: Option<Received>,
}

/// What happens to a message.
#[expect(clippy::large_enum_variant, reason = "each message is moved on at once: boxing it would cost more")]
pub(super) enum Routed {
    /// The workflow is not known to be unknown, or the run must be loaded for the message.
    ToRun(Received),
    /// It stays in the inbox.
    Left,
    /// It stays in the inbox until these messages are read again: the start and the end are written in one group.
    ReadAgain(Vec<MessageRef>),
    /// It ends a run without an event in the log: these are the start and the end. All other messages to the run were too late.
    EndsPending { ends: Box<[Received; 2]>, late: Vec<MessageRef> },
}

impl UnknownWorkflows {
    /// Receives a message to a run.
    pub(super) fn receive(&mut self, run: RunId, received: Received) -> Routed {
        let Some(unknown) = self.0.get_mut(&run) else { return Routed::ToRun(received) };
        match &received.message {
            Message::Terminate { .. } if !unknown.pending => return Routed::ToRun(received),
            Message::Terminate { .. } => {
                if let Some(start) = unknown.start.take() {
                    let ends = Box::new([start, received]);
                    return Routed::EndsPending { ends, late: self.take(run) };
                }
                // Its start was left in the inbox.
                unknown.terminating = true;
                let mut again = std::mem::take(&mut unknown.left);
                again.push(received.reference);
                return Routed::ReadAgain(again);
            }
            Message::Start { .. } if unknown.terminating => unknown.start = Some(received),
            Message::Start { .. }
            | Message::Signal { .. }
            | Message::RunSignal { .. }
            | Message::Cancel { .. }
            | Message::TaskEnded { .. }
            | Message::TaskLost { .. }
            | Message::ChildEnded { .. }
            | Message::Retry {}
            | Message::Pause { .. }
            | Message::Update { .. }
            | Message::Resume {} => {
                unknown.left.push(received.reference);
            }
        }
        Routed::Left
    }

    /// Leaves a run whose start was read to a worker that has its workflow.
    pub(super) fn leave_pending(&mut self, run: RunId, start: MessageRef) {
        let unknown = UnknownRun { left: vec![start], pending: true, ..UnknownRun::default() };
        self.0.insert(run, unknown);
    }

    /// Leaves a loaded run and its messages to such a worker. Returns whether the run is new here.
    pub(super) fn leave(&mut self, run: RunId, messages: impl Iterator<Item = MessageRef>) -> bool {
        let is_new = !self.0.contains_key(&run);
        self.0.entry(run).or_default().left.extend(messages);
        is_new
    }

    /// These shards go to another owner.
    pub(super) fn leave_shards(&mut self, shards: &BTreeSet<ShardId>) {
        self.0.retain(|run, _| !shards.contains(&run.shard()));
    }

    /// Forgets a run, and returns its messages that were left in the inbox.
    pub(super) fn take(&mut self, run: RunId) -> Vec<MessageRef> {
        self.0.remove(&run).unwrap_or_default().left
    }
}

/// What such a run waits for, in words for people.
pub(super) fn waiting_on(workflow: &str, worker: &str) -> String {
    format!(
        "a worker that knows workflow `{workflow}`: worker `{worker}`, which owns its shard, does not; programs with \
         different workflows need a queue each"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::attributes::Attributes;
    use crate::data::id::{InboxNo, MessageId};
    use crate::data::name::Name;
    use crate::data::retry::RetryPolicy;
    use crate::log::message::Flag;
    use crate::processor::memory::Tally;
    use crate::testing::{payload, run_id};

    fn reference(number: u64) -> MessageRef {
        let message = MessageId::from_u128(u128::from(number));
        MessageRef { shard: run_id(0).shard(), number: InboxNo::new(number), message }
    }

    fn received(reference: MessageRef, message: Message) -> Received {
        Received { reference, message, sent_to: run_id(0), _held: Tally::unlimited().hold(0) }
    }

    fn start() -> Received {
        let (workflow, input) = (Name::from_static("elsewhere"), payload(&0));
        let message = Message::Start {
            workflow,
            input,
            key: None,
            start_at: None,
            repeated: Flag(false),
            parent: None,
            retry: RetryPolicy::none(),
            deadline: None,
            grace_until: None,
            trace: None,
            attributes: Attributes::default(),
        };
        received(reference(1), message)
    }

    fn end() -> Received {
        received(reference(2), Message::Terminate { reason: "enough".to_owned(), parent: None })
    }

    #[test]
    fn termination_of_a_pending_run_waits_until_its_start_is_read_again() {
        let (mut unknown, run) = (UnknownWorkflows::default(), run_id(1));
        assert!(matches!(unknown.receive(run, start()), Routed::ToRun(_)), "the run is new here");
        unknown.leave_pending(run, reference(1));
        let Routed::ReadAgain(again) = unknown.receive(run, end()) else {
            panic!("its start has not been read again")
        };
        assert_eq!(again, [reference(1), reference(2)]);
        assert!(matches!(unknown.receive(run, start()), Routed::Left));
        assert!(matches!(unknown.receive(run, end()), Routed::EndsPending { .. }));
        assert!(matches!(unknown.receive(run, end()), Routed::ToRun(_)), "it was forgotten");
    }

    #[test]
    fn termination_of_a_run_in_the_log_is_given_back() {
        let (mut unknown, run) = (UnknownWorkflows::default(), run_id(1));
        assert!(unknown.leave(run, std::iter::once(reference(3))));
        assert!(!unknown.leave(run, std::iter::once(reference(4))));
        assert!(matches!(unknown.receive(run, end()), Routed::ToRun(_)));
        assert_eq!(unknown.take(run), [reference(3), reference(4)]);
    }
}
