//! The processor's part that reads the inbox: which messages were read and are still in it, and the page that is being
//! delivered. It must not know what a message says.

use std::collections::{BTreeSet, VecDeque};

use crate::data::id::ShardId;
use crate::data::limits;
use crate::store::inbox::{InboxCursor, InboxMessage, InboxPage, InboxRead, MessageRef};

/// How many messages are read at once.
const PAGE: u32 = 2_000;

/// How far the inbox has been read.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Messages that were taken from a page and are still in the inbox.
    taken: BTreeSet<MessageRef>,
    /// Messages that left the inbox during a read, which may still return them.
    settled: Vec<MessageRef>,
    /// Whether a read is in progress. A read lasts until its page is used up: the rest of the page may hold messages that
    /// have left the inbox meanwhile.
    reading: bool,
    page: VecDeque<InboxMessage>,
    cursor: InboxCursor,
    /// Whether there may be messages after the cursor.
    mail: bool,
}

impl Inbox {
    /// Shards were claimed: reads from the beginning, without a snapshot. Messages that were taken already are recognised.
    pub(super) fn restart(&mut self) {
        self.cursor = InboxCursor::default();
        self.mail = true;
    }

    /// Notes whether there may be messages.
    pub(super) fn has_mail(&mut self, mail: bool) {
        self.mail |= mail;
    }

    pub(super) fn cursor(&self) -> &InboxCursor {
        &self.cursor
    }

    /// Returns the next read, if there may be something to read and the last page is used up.
    pub(super) fn ask(&mut self, shards: impl FnOnce() -> Vec<ShardId>) -> Option<InboxRead> {
        if self.reading || !std::mem::take(&mut self.mail) {
            return None;
        }
        self.reading = true;
        let (cursor, bytes) = (self.cursor.clone(), limits::PAGE_BYTES_MAX);
        Some(InboxRead { shards: shards(), cursor, limit: PAGE, bytes })
    }

    /// Takes the answer. `current` says whether it covers exactly the shards that are served now: shards that were claimed
    /// meanwhile are read from the beginning.
    pub(super) fn answer(&mut self, page: InboxPage, current: bool) {
        if current {
            self.cursor = page.cursor;
        }
        self.mail |= page.more;
        self.page = page.messages.into();
        self.end_if_used_up();
    }

    /// The read failed, and must be repeated.
    pub(super) fn failed(&mut self) {
        self.mail = true;
        self.end_if_used_up();
    }

    /// Takes the next message of the page that was not taken already.
    pub(super) fn take(&mut self) -> Option<InboxMessage> {
        let mut next = None;
        while next.is_none()
            && let Some(message) = self.page.pop_front()
        {
            let (shard, number, id) = (message.run.shard(), message.number, message.message);
            next = self.taken.insert(MessageRef { shard, number, message: id }).then_some(message);
        }
        self.end_if_used_up();
        next
    }

    /// These messages have left the inbox.
    pub(super) fn settle<'a>(&mut self, messages: impl IntoIterator<Item = &'a MessageRef>) {
        if self.reading {
            self.settled.extend(messages);
        } else {
            messages.into_iter().for_each(|message| _ = self.taken.remove(message));
        }
    }

    /// Reads these messages again, from the beginning of the inbox.
    pub(super) fn read_again(&mut self, messages: &[MessageRef]) {
        messages.iter().for_each(|message| _ = self.taken.remove(message));
        self.restart();
    }

    /// Once no read is in progress, messages that left the inbox are not returned again.
    fn end_if_used_up(&mut self) {
        self.reading = !self.page.is_empty();
        if !self.reading {
            for message in self.settled.drain(..) {
                self.taken.remove(&message);
            }
        }
    }
}
