//! A message that was read, and its reference in the inbox. It must not know what becomes of it.

use crate::log::message::{Flag, Message};
use crate::processor::memory::Held;
use crate::store::inbox::MessageRef;

/// A message that was read and decoded. It stays in the inbox until an append consumes it.
pub(super) struct Received {
    pub(super) reference: MessageRef,
    pub(super) message: Message,
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

    /// Whether it is dropped if its run is over: a request to resume or to retry is, and an update, whose reply is the end of the
    /// run. So is the outcome of a task, unless a transaction committed it, because then people need to know what happened.
    pub(super) fn is_dropped_late(&self) -> bool {
        match &self.message {
            Message::TaskEnded { committed: Flag(committed), .. } => !committed,
            Message::TaskLost { .. } | Message::Resume {} | Message::Retry {} | Message::Update { .. } => {
                true
            }
            Message::Start { .. }
            | Message::Signal { .. }
            | Message::RunSignal { .. }
            | Message::Cancel { .. }
            | Message::Terminate { .. } => false,
        }
    }
}
