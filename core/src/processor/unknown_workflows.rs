//! The processor's part that holds what waits for runs of workflows which nobody here knows. Their messages stay in the
//! inbox, for a worker that knows the workflow; only their termination is logged, since it asks no code. It must not know
//! how that is done.

use std::collections::BTreeMap;

use crate::data::id::RunId;
use crate::log::message::Message;
use crate::processor::received::Received;
use crate::store::inbox::MessageRef;

/// The runs of unknown workflows that this processor met.
#[derive(Default)]
pub(super) struct Strangers(BTreeMap<RunId, Stranger>);

/// One of them.
#[derive(Default)]
struct Stranger {
    /// Its messages that were read.
    left: Vec<MessageRef>,
    /// Whether its start is in the inbox: the log knows nothing of it.
    pending: bool,
    /// Whether it is to be terminated as soon as its start has been read once more.
    terminating: bool,
    start: Option<Received>,
}

/// What becomes of a message.
pub(super) enum Passed {
    /// Its run is none of an unknown workflow, or has to be loaded for the message.
    Back(Received),
    /// It is left in the inbox.
    Left,
    /// It is left there, until these are read once more: both the start and the end are logged in one group.
    ReadAgain(Vec<MessageRef>),
    /// It ends a run of which nothing is in the log. What else was sent to the run was too late.
    Ends { start: Received, end: Received, late: Vec<MessageRef> },
}

impl Strangers {
    /// Takes a message for a run.
    pub(super) fn pass(&mut self, run: RunId, received: Received) -> Passed {
        let Some(stranger) = self.0.get_mut(&run) else { return Passed::Back(received) };
        match &received.message {
            Message::Terminate { .. } if !stranger.pending => return Passed::Back(received),
            Message::Terminate { .. } => {
                if let Some(start) = stranger.start.take() {
                    return Passed::Ends { start, end: received, late: self.take(run) };
                }
                // Its start was left in the inbox.
                stranger.terminating = true;
                let mut again = std::mem::take(&mut stranger.left);
                again.push(received.reference);
                return Passed::ReadAgain(again);
            }
            Message::Start { .. } if stranger.terminating => stranger.start = Some(received),
            Message::Start { .. } | Message::Signal { .. } | Message::Cancel { .. } => {
                stranger.left.push(received.reference);
            }
        }
        Passed::Left
    }

    /// Leaves a run whose start was read to a worker that knows its workflow.
    pub(super) fn leave_pending(&mut self, run: RunId, start: MessageRef) {
        let stranger = Stranger { left: vec![start], pending: true, ..Stranger::default() };
        self.0.insert(run, stranger);
    }

    /// Leaves a run that was loaded, with what it was sent. Whether it is met for the first time.
    pub(super) fn leave(&mut self, run: RunId, messages: impl Iterator<Item = MessageRef>) -> bool {
        let is_new = !self.0.contains_key(&run);
        self.0.entry(run).or_default().left.extend(messages);
        is_new
    }

    /// Forgets a run, and says which of its messages were left.
    pub(super) fn take(&mut self, run: RunId) -> Vec<MessageRef> {
        self.0.remove(&run).unwrap_or_default().left
    }
}

/// What such a run waits for, for people.
pub(super) fn waiting_on(workflow: &str, worker: &str) -> String {
    format!(
        "a worker that knows workflow `{workflow}`: worker `{worker}`, which owns its shard, does not; programs with \
         different workflows need a queue each"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::{InboxNo, MessageId};
    use crate::data::name::Name;
    use crate::log::message::Flag;
    use crate::testing::{payload, run_id};

    fn reference(number: u64) -> MessageRef {
        let message = MessageId::from_u128(u128::from(number));
        MessageRef { shard: run_id(0).shard(), number: InboxNo::new(number), message }
    }

    fn start() -> Received {
        let (workflow, input) = (Name::from_static("elsewhere"), payload(&0));
        let message = Message::Start { workflow, input, key: None, start_at: None, repeated: Flag(false) };
        Received { reference: reference(1), message }
    }

    fn end() -> Received {
        Received { reference: reference(2), message: Message::Terminate { reason: "enough".to_owned() } }
    }

    #[test]
    fn termination_of_a_pending_run_waits_until_its_start_is_read_once_more() {
        let (mut strangers, run) = (Strangers::default(), run_id(1));
        assert!(matches!(strangers.pass(run, start()), Passed::Back(_)), "nobody has met it");
        strangers.leave_pending(run, reference(1));
        let Passed::ReadAgain(again) = strangers.pass(run, end()) else { panic!("its start is not there") };
        assert_eq!(again, [reference(1), reference(2)]);
        assert!(matches!(strangers.pass(run, start()), Passed::Left));
        assert!(matches!(strangers.pass(run, end()), Passed::Ends { .. }));
        assert!(matches!(strangers.pass(run, end()), Passed::Back(_)), "it is forgotten");
    }

    #[test]
    fn termination_of_a_run_in_the_log_is_given_back() {
        let (mut strangers, run) = (Strangers::default(), run_id(1));
        assert!(strangers.leave(run, std::iter::once(reference(3))));
        assert!(!strangers.leave(run, std::iter::once(reference(4))));
        assert!(matches!(strangers.pass(run, end()), Passed::Back(_)));
        assert_eq!(strangers.take(run), [reference(3), reference(4)]);
    }
}
