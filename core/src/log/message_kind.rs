//! The kind of a submission's message, for observers of a store. It must not know the message's payload.

use std::fmt;

use super::message::Message;
use super::wire;
use crate::data::name::Name;
use crate::error::Error;
use crate::store::inbox::Submission;

/// The kind of a submission's message, for observers of a store such as decorators and tests. Like the seam, it is
/// exhaustive: the compiler points out a new kind to every observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// The start of a run.
    Start,
    /// A signal with this name.
    Signal(Name),
    /// A request to cancel the run.
    Cancel,
    /// A request to end the run without asking its code.
    Terminate,
    /// The end of one of the run's tasks.
    Task,
    /// The end of one of the run's children.
    Child,
    /// A request to pause the run.
    Pause,
    /// A request to end the run's pause, and to try it again.
    Resume,
    /// A request to begin the next attempts at once.
    Retry,
    /// An update with this name.
    Update(Name),
}

/// Writes it in words, such as ``signal `paid` ``.
impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Signal(name) => write!(f, "signal `{name}`"),
            Self::Cancel => f.write_str("cancellation"),
            Self::Terminate => f.write_str("termination"),
            Self::Task => f.write_str("end of a task"),
            Self::Child => f.write_str("end of a child"),
            Self::Pause => f.write_str("pause"),
            Self::Resume => f.write_str("resume"),
            Self::Retry => f.write_str("retry"),
            Self::Update(name) => write!(f, "update `{name}`"),
        }
    }
}

impl Submission {
    /// The kind of the message.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if this build cannot read the body.
    pub fn kind(&self) -> Result<MessageKind, Error> {
        let message = wire::decode_message(&self.body).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(match message {
            Message::Start { .. } => MessageKind::Start,
            Message::Signal { signal, .. } | Message::RunSignal { signal, .. } => MessageKind::Signal(signal),
            Message::Cancel { .. } => MessageKind::Cancel,
            Message::Terminate { .. } => MessageKind::Terminate,
            Message::TaskEnded { .. } | Message::TaskLost { .. } => MessageKind::Task,
            Message::ChildEnded { .. } => MessageKind::Child,
            Message::Pause { .. } => MessageKind::Pause,
            Message::Resume {} => MessageKind::Resume,
            Message::Retry {} => MessageKind::Retry,
            Message::Update { update, .. } => MessageKind::Update(update),
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::data::attributes::Attributes;
    use crate::data::id::{CommandId, EventSeq, MessageId, RunId};
    use crate::data::outcome::Outcome;
    use crate::data::payload::Payload;
    use crate::log::message::Flag;

    fn kind(body: Bytes) -> Result<MessageKind, Error> {
        let submission =
            Submission { message: MessageId::from_u128(1), run: RunId::from_u128(1), body, opens: None };
        submission.kind()
    }

    #[test]
    fn submission_tells_the_kind_of_its_message() {
        let input = || Payload::encode(&1).unwrap();
        let (workflow, signal) = (Name::from_static("order"), Name::from_static("paid"));
        let start = Message::Start {
            workflow,
            input: input(),
            key: None,
            start_at: None,
            repeated: Flag(false),
            parent: None,
            retry: crate::data::retry::RetryPolicy::none(),
            deadline: None,
            grace_until: None,
            trace: None,
            attributes: Attributes::default(),
        };
        let signalled = Message::Signal { signal: signal.clone(), payload: input(), key: None, trace: None };
        let (cancel, terminate) = (
            Message::Cancel { reason: None, parent: None },
            Message::Terminate { reason: "enough".to_owned(), parent: None },
        );
        assert_eq!(MessageKind::Signal(signal.clone()).to_string(), "signal `paid`");
        let (id, task) = (CommandId::FIRST, EventSeq::FIRST);
        let ended =
            Message::TaskEnded { id, task, outcome: Outcome::Completed(input()), committed: Flag(false) };
        for (message, expected) in [
            (start, MessageKind::Start),
            (signalled, MessageKind::Signal(signal)),
            (cancel, MessageKind::Cancel),
            (terminate, MessageKind::Terminate),
            (ended, MessageKind::Task),
            (Message::TaskLost { id, task, losses: 1 }, MessageKind::Task),
            (Message::Pause { reason: None }, MessageKind::Pause),
            (Message::Resume {}, MessageKind::Resume),
            (Message::Retry {}, MessageKind::Retry),
        ] {
            assert_eq!(kind(wire::encode_message(&message)).unwrap(), expected);
        }
    }

    #[test]
    fn body_that_cannot_be_read_has_no_kind() {
        assert!(kind(Bytes::from_static(b"no message")).unwrap_err().is_invalid());
    }
}
