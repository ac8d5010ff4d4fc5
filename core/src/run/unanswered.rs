//! The updates of a run that have no reply: waiting for its code, or taken by it. It must not know what they ask for.

use crate::data::id::MessageId;
use crate::data::id_map::IdMap;
use crate::data::limits;
use crate::data::payload::Payload;

/// The updates of a run that have no reply, by their messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// How many bytes the request of each has.
    requests: IdMap<MessageId, usize>,
    bytes: usize,
}

impl Unanswered {
    pub(super) fn insert(&mut self, message: MessageId, request: &Payload) {
        let bytes = request.bytes().len();
        let before = self.requests.insert(message, bytes).unwrap_or(0);
        self.bytes += bytes;
        self.bytes -= before;
    }

    pub(super) fn remove(&mut self, message: MessageId) {
        self.bytes -= self.requests.remove(&message).unwrap_or(0);
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// How many bytes their requests have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is no room for another. An update of any size fits if there is no other.
    pub(super) fn is_full(&self, request: &Payload) -> bool {
        let bytes = self.bytes + request.bytes().len();
        let is_large = !self.requests.is_empty() && bytes > limits::UPDATES_OPEN_BYTES_MAX;
        self.requests.len() >= limits::UPDATES_OPEN_MAX || is_large
    }
}
