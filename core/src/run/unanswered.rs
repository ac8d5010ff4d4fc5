//! The updates of a run that have no reply: waiting for its code, or taken by it. It must not know what they ask for.

use crate::data::id::MessageId;
use crate::data::id_map::IdMap;
use crate::data::limits;
use crate::data::payload::Payload;

/// The updates of a run that have no reply. Boxed, because most runs have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unanswered(Option<Box<Requests>>);

/// Requests, by their messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Requests {
    /// How many bytes each has.
    sizes: IdMap<MessageId, usize>,
    bytes: usize,
}

impl Unanswered {
    pub(super) fn insert(&mut self, message: MessageId, request: &Payload) {
        let requests = self.0.get_or_insert_default();
        let bytes = request.bytes().len();
        let before = requests.sizes.insert(message, bytes).unwrap_or(0);
        requests.bytes += bytes;
        requests.bytes -= before;
    }

    pub(super) fn remove(&mut self, message: MessageId) {
        let Some(requests) = &mut self.0 else { return };
        requests.bytes -= requests.sizes.remove(&message).unwrap_or(0);
        if requests.sizes.is_empty() {
            self.0 = None;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |requests| requests.sizes.len())
    }

    /// How many bytes their requests have.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |requests| requests.bytes)
    }

    /// Whether there is no room for another. An update of any size fits if there is no other.
    pub(super) fn is_full(&self, request: &Payload) -> bool {
        let bytes = self.bytes() + request.bytes().len();
        let is_large = self.len() > 0 && bytes > limits::UPDATES_OPEN_BYTES_MAX;
        self.len() >= limits::UPDATES_OPEN_MAX || is_large
    }
}
