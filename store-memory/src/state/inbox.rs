//! The inbox: waiting messages, and readers that see each message once and in its sender's order. It must not know what
//! a message says, or who reads.
//!
//! A message takes its number when its transaction inserts it. It becomes visible when that transaction commits, maybe
//! after messages with greater numbers. So a reader remembers the last *commit* that it has seen, not the highest
//! number. It reads a window: the messages of all commits after that one, up to the last commit when the read begins. A
//! window is read in the order of numbers, page by page; later commits belong to the next window. If one sender commits
//! two messages in turn, they are either in one window, in the order of their numbers, or in two windows, the first
//! message in the first one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{InboxNo, MessageId, RunId, ShardId};
use pgworkflows_core::store::{
    InboxCursor, InboxMessage, InboxPage, InboxRead, MessageRef, StoreError, Submission,
};

use super::merge::merge;

/// The waiting messages.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbox {
    rows: BTreeMap<(ShardId, InboxNo), InboxRow>,
    /// An index by the commit that made each message visible.
    arrivals: BTreeSet<(ShardId, u64, InboxNo)>,
    messages: BTreeSet<MessageId>,
    /// The last number that was taken. A number is never reused, even if its transaction does not commit.
    last_number: u64,
    last_commit: u64,
    /// How often the store was restored. A cursor from before a restore is refused.
    restores: u64,
}

/// A waiting message.
#[derive(Clone, Debug)]
pub(super) struct InboxRow {
    pub(super) run: RunId,
    pub(super) message: MessageId,
    pub(super) body: Bytes,
    /// Whether it starts its run.
    pub(super) opens: bool,
    /// The commit that made it visible.
    commit: u64,
}

impl Inbox {
    /// Takes a number for a message that may become visible later, or never.
    pub(super) fn next_number(&mut self) -> InboxNo {
        self.last_number += 1;
        InboxNo::new(self.last_number)
    }

    /// Makes messages visible by one commit.
    pub(super) fn commit(&mut self, rows: impl IntoIterator<Item = (InboxNo, Submission)>) {
        self.last_commit += 1;
        let commit = self.last_commit;
        for (number, Submission { run, message, body, opens }) in rows {
            let shard = run.shard();
            let opens = opens.is_some();
            self.rows.insert((shard, number), InboxRow { run, message, body, opens, commit });
            self.arrivals.insert((shard, commit, number));
            self.messages.insert(message);
        }
    }

    /// Whether a message with this id is waiting.
    pub(super) fn holds(&self, message: MessageId) -> bool {
        self.messages.contains(&message)
    }

    pub(super) fn contains(&self, message: MessageRef) -> bool {
        let row = self.rows.get(&(message.shard, message.number));
        row.is_some_and(|row| row.message == message.message)
    }

    /// Removes a message.
    pub(super) fn take(&mut self, message: MessageRef) -> Option<InboxRow> {
        let row = self.rows.remove(&(message.shard, message.number))?;
        self.arrivals.remove(&(message.shard, row.commit, message.number));
        self.messages.remove(&row.message);
        Some(row)
    }

    /// A page of what became visible since the cursor.
    pub(super) fn read(&self, now: Timestamp, read: &InboxRead) -> Result<InboxPage, StoreError> {
        let reader = self.reader(&read.cursor)?;
        let window = reader.window.unwrap_or(Window { until: self.last_commit, after: InboxNo::new(0) });
        let commits = reader.seen + 1..=window.until;
        let limit = read.limit.max(1) as usize;
        // One message beyond the limit shows whether the window has further pages.
        let after = window.after;
        let mut messages = self.in_window(&read.shards, &commits, after, limit + 1, read.starts);
        let fitting = fitting(&messages, read.bytes).min(limit);
        let has_next_page = messages.len() > fitting;
        messages.truncate(fitting);
        let (reader, more) = if has_next_page {
            let after = messages[fitting - 1].number;
            (Reader { window: Some(Window { after, ..window }), ..reader }, true)
        } else {
            let more = self.has_arrivals(&read.shards, &(window.until + 1..=self.last_commit));
            (Reader { seen: window.until, window: None }, more)
        };
        Ok(InboxPage { messages, cursor: self.cursor(reader), more, now })
    }

    /// Whether a read would find anything.
    pub(super) fn has_mail(
        &self,
        shards: &BTreeSet<ShardId>,
        cursor: &InboxCursor,
    ) -> Result<bool, StoreError> {
        let reader = match self.reader(cursor) {
            // The read itself reports that commits were lost.
            Err(StoreError::Fenced { .. }) => return Ok(true),
            reader => reader?,
        };
        let Some(window) = reader.window else {
            return Ok(self.has_arrivals(shards, &(reader.seen + 1..=self.last_commit)));
        };
        let commits = reader.seen + 1..=window.until;
        Ok(self.has_arrivals(shards, &(window.until + 1..=self.last_commit))
            || !self.in_window(shards, &commits, window.after, 1, true).is_empty())
    }

    /// Messages that became visible by one of `commits` and have numbers after `after`, in the order of numbers; with starts
    /// or without them.
    fn in_window<'a>(
        &self,
        shards: impl IntoIterator<Item = &'a ShardId, IntoIter: Clone>,
        commits: &RangeInclusive<u64>,
        after: InboxNo,
        limit: usize,
        starts: bool,
    ) -> Vec<InboxMessage> {
        let shards = shards.into_iter();
        // Start at the window's first number, to skip older rows that were read but not consumed yet. The first page
        // looks that number up; later pages continue after the previous page.
        let first = if after.get() > 0 {
            Some(after.next())
        } else {
            shards.clone().flat_map(|shard| self.arrived(*shard, commits)).min()
        };
        let Some(first) = first else { return Vec::new() };
        let sequences = shards.map(|shard| {
            let (from, to) = ((*shard, first), (*shard, InboxNo::new(u64::MAX)));
            let rows = self.rows.range(from..=to).filter(|(_, row)| commits.contains(&row.commit));
            let rows = rows.filter(move |(_, row)| starts || !row.opens);
            rows.map(|((shard, number), _)| (*number, *shard))
        });
        let message = |(number, shard)| {
            let row = &self.rows[&(shard, number)];
            InboxMessage {
                number,
                run: row.run,
                current: row.run,
                message: row.message,
                body: row.body.clone(),
            }
        };
        merge(sequences, limit).into_iter().map(message).collect()
    }

    fn has_arrivals<'a>(
        &self,
        shards: impl IntoIterator<Item = &'a ShardId>,
        commits: &RangeInclusive<u64>,
    ) -> bool {
        shards.into_iter().any(|shard| self.arrived(*shard, commits).next().is_some())
    }

    fn arrived(&self, shard: ShardId, commits: &RangeInclusive<u64>) -> impl Iterator<Item = InboxNo> {
        // An empty range of commits would give a reversed range of the index, which panics.
        let to = (*commits.end()).max(*commits.start());
        let bounds = (shard, *commits.start(), InboxNo::new(0))..=(shard, to, InboxNo::new(u64::MAX));
        let nothing = commits.is_empty();
        self.arrivals.range(bounds).map(|(_, _, number)| *number).take_while(move |_| !nothing)
    }

    /// Invalidates all cursors from before a restore.
    pub(super) fn invalidate_cursors(&mut self, newer: &Self) {
        self.restores = newer.restores + 1;
    }

    fn cursor(&self, reader: Reader) -> InboxCursor {
        let window = reader.window.map_or([0, 0], |window| [window.until, window.after.get()]);
        let numbers = [self.restores, reader.seen, window[0], window[1]];
        InboxCursor(numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
    }

    fn reader(&self, cursor: &InboxCursor) -> Result<Reader, StoreError> {
        if cursor.0.is_empty() {
            return Ok(Reader { seen: 0, window: None });
        }
        let numbers: Option<[u8; 32]> = cursor.0.as_ref().try_into().ok();
        let numbers = numbers.ok_or_else(|| {
            let bytes = cursor.0.len();
            StoreError::corrupt(format!(
                "an inbox cursor has {bytes} bytes, but this store's have 32: read the inbox from the start"
            ))
        })?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| numbers[at * 8 + byte]));
        let (restores, seen, until, after) = (number(0), number(1), number(2), number(3));
        if restores != self.restores || seen.max(until) > self.last_commit {
            return Err(StoreError::fenced("the inbox cursor is ahead of the store: commits were lost"));
        }
        let window = (after > 0).then(|| Window { until, after: InboxNo::new(after) });
        Ok(Reader { seen, window })
    }
}

/// How many of the messages fit into `bytes` together; at least one.
fn fitting(messages: &[InboxMessage], bytes: usize) -> usize {
    let mut total = 0;
    let fits = |message: &&InboxMessage| {
        total += message.body.len();
        total <= bytes
    };
    messages.iter().take_while(fits).count().max(1)
}

/// A reader's progress.
#[derive(Clone, Copy)]
struct Reader {
    /// Every message of this commit and of earlier ones has been read.
    seen: u64,
    /// The window that is being read.
    window: Option<Window>,
}

/// The messages that are being read page by page: those of the commits after the last one seen, up to `until`.
#[derive(Clone, Copy)]
struct Window {
    until: u64,
    /// The number of the previous page's last message.
    after: InboxNo,
}
