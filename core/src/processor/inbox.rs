//! The processor's part that reads the inbox: what was read and is still there, and the page that is being delivered.
//! It must not know what a message says.

use std::collections::{BTreeSet, VecDeque};

use crate::data::id::ShardId;
use crate::data::limits;
use crate::store::inbox::{InboxCursor, InboxMessage, InboxPage, InboxRead, MessageRef};

/// How many messages are read at once.
const PAGE: u32 = 2_000;

/// How far the inbox was read.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Messages that were taken from a page and are still in the inbox.
    taken: BTreeSet<MessageRef>,
    /// Messages that left the inbox while a read of it was under way: that read may still show them.
    settled: Vec<MessageRef>,
    /// Whether a read is under way. It is until its page is used up: what is left of it was read before the messages
    /// that leave the inbox meanwhile had left.
    reading: bool,
    page: VecDeque<InboxMessage>,
    cursor: InboxCursor,
    /// Whether there may be messages beyond the cursor.
    mail: bool,
}

impl Inbox {
    /// Shards came: a new owner begins with no snapshot, and what was taken already is recognised.
    pub(super) fn begin_anew(&mut self) {
        self.cursor = InboxCursor::default();
        self.mail = true;
    }

    /// There may be messages.
    pub(super) fn has_mail(&mut self, mail: bool) {
        self.mail |= mail;
    }

    pub(super) fn cursor(&self) -> &InboxCursor {
        &self.cursor
    }

    /// The next read, if there is something to read and the page before is used up.
    pub(super) fn ask(&mut self, shards: impl FnOnce() -> Vec<ShardId>) -> Option<InboxRead> {
        if self.reading || !std::mem::take(&mut self.mail) {
            return None;
        }
        self.reading = true;
        let (cursor, bytes) = (self.cursor.clone(), limits::PAGE_BYTES_MAX);
        Some(InboxRead { shards: shards(), cursor, limit: PAGE, bytes })
    }

    /// The answer. `current` says whether it was asked for the shards that are served now: those that came meanwhile
    /// are read from the beginning.
    pub(super) fn answer(&mut self, page: InboxPage, current: bool) {
        if current {
            self.cursor = page.cursor;
        }
        self.mail |= page.more;
        self.page = page.messages.into();
        self.end_if_used_up();
    }

    /// The read failed, and is to be made again.
    pub(super) fn failed(&mut self) {
        self.mail = true;
        self.end_if_used_up();
    }

    /// Takes the next message of the page that was not taken before.
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

    /// These messages are no longer in the inbox.
    pub(super) fn settle<'a>(&mut self, messages: impl IntoIterator<Item = &'a MessageRef>) {
        if self.reading {
            self.settled.extend(messages);
        } else {
            messages.into_iter().for_each(|message| _ = self.taken.remove(message));
        }
    }

    /// These are to be read once more, from the beginning.
    pub(super) fn read_again(&mut self, messages: &[MessageRef]) {
        messages.iter().for_each(|message| _ = self.taken.remove(message));
        self.begin_anew();
    }

    /// Without a read under way, what left the inbox is not seen again.
    fn end_if_used_up(&mut self) {
        self.reading = !self.page.is_empty();
        if !self.reading {
            for message in self.settled.drain(..) {
                self.taken.remove(&message);
            }
        }
    }
}
