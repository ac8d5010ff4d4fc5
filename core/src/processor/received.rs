//! A message that was read, and its reference in the inbox. It must not know what becomes of it.

use crate::data::id::RunId;
use crate::log::message::{Flag, Message};
use crate::processor::memory::Held;
use crate::store::inbox::MessageRef;

/// A message that was read and decoded. It stays in the inbox until an append consumes it.
pub(super) struct Received {
    pub(super) reference: MessageRef,
    pub(super) message: Message,
    /// The run that it was sent to. Another run of the same chain may receive it.
    pub(super) sent_to: RunId,
    /// Counts its bytes.
    pub(super) _held: Held,
}

impl Received {
    /// Whether it starts its run.
    pub(super) fn is_start(&self) -> bool {
        matches!(self.message, Message::Start { .. })
    }

    /// Whether it terminates its run.
    pub(super) fn is_termination(&self) -> bool {
        matches!(self.message, Message::Terminate { .. })
    }

    /// Whether it asks for the run to go on.
    pub(super) fn is_resume(&self) -> bool {
        matches!(self.message, Message::Resume {})
    }

    /// Whether a child of its run has sent it.
    pub(super) fn is_of_a_child(&self) -> bool {
        matches!(self.message, Message::ChildEnded { .. })
    }

    /// Whether it is dropped if its run is over: a request to pause, to resume or to retry is, and an update, whose reply is the
    /// end of the run. So is the outcome of a task, unless a transaction committed it, because then people need to know what
    /// happened.
    pub(super) fn is_dropped_late(&self) -> bool {
        match &self.message {
            Message::TaskEnded { committed: Flag(committed), .. } => !committed,
            Message::TaskLost { .. } | Message::Pause { .. } | Message::Resume {} | Message::Retry {} => true,
            Message::Update { .. } => true,
            // What a parent asks of a child that is over is of no use, and the outcome of a child is in its own history.
            Message::Cancel { parent, .. } | Message::Terminate { parent, .. } => parent.is_some(),
            Message::ChildEnded { .. } => true,
            Message::Start { .. } | Message::Signal { .. } | Message::RunSignal { .. } => false,
        }
    }
}
