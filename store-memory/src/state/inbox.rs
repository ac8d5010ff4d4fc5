//! The inbox: messages that wait, and readers that see each of them once, in an order that respects every
//! sender. It must not know what a message says, or who reads.
//!
//! A message's number is taken when its transaction inserts it; it becomes visible when that transaction
//! commits, maybe after messages with greater numbers. So a reader does not remember the highest number seen,
//! but the last *commit* seen. It reads what was committed behind that, up to the commits there are when it
//! begins: a window. A window is read in the order of numbers, page by page; what commits meanwhile belongs
//! to the next window. Two messages that one sender committed one after the other are either in one window, in the
//! order of their numbers, or in two, the first one in the first.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use bytes::Bytes;
use pgworkflows::store::{InboxCursor, InboxMessage, InboxPage, InboxRead, MessageRef, StoreError};
use pgworkflows::{InboxNo, MessageId, RunId, ShardId, Timestamp};

use super::merge::merge;

/// The messages that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbox {
    rows: BTreeMap<MessageRef, InboxRow>,
    /// The same by the commit that made them visible.
    arrivals: BTreeSet<(ShardId, u64, InboxNo)>,
    messages: BTreeSet<MessageId>,
    /// A number that was taken is gone, committed or not.
    last_number: u64,
    last_commit: u64,
    /// How often the store was restored: a cursor from before is worth nothing.
    restores: u64,
}

/// A message that waits.
#[derive(Clone, Debug)]
pub(super) struct InboxRow {
    pub(super) run: RunId,
    pub(super) message: MessageId,
    pub(super) body: Bytes,
    /// The commit that made it visible.
    commit: u64,
}

impl Inbox {
    /// Takes a number for a message that may become visible later, or never.
    pub(super) fn next_number(&mut self) -> InboxNo {
        self.last_number += 1;
        InboxNo::new(self.last_number)
    }

    /// Makes messages visible, all at once.
    pub(super) fn commit(&mut self, rows: impl IntoIterator<Item = (InboxNo, RunId, MessageId, Bytes)>) {
        self.last_commit += 1;
        let commit = self.last_commit;
        for (number, run, message, body) in rows {
            let shard = run.shard();
            self.rows.insert(MessageRef { shard, number }, InboxRow { run, message, body, commit });
            self.arrivals.insert((shard, commit, number));
            self.messages.insert(message);
        }
    }

    /// Whether a message with this id waits.
    pub(super) fn holds(&self, message: MessageId) -> bool {
        self.messages.contains(&message)
    }

    pub(super) fn contains(&self, message: MessageRef) -> bool {
        self.rows.contains_key(&message)
    }

    /// Removes a message whose presence was checked.
    pub(super) fn take(&mut self, message: MessageRef) -> InboxRow {
        let row = self.rows.remove(&message).expect("the message was checked to be here");
        self.arrivals.remove(&(message.shard, row.commit, message.number));
        self.messages.remove(&row.message);
        row
    }

    /// A page of what became visible since the cursor.
    pub(super) fn read(&self, now: Timestamp, read: &InboxRead) -> Result<InboxPage, StoreError> {
        let reader = self.reader(&read.cursor)?;
        let mut window = reader.window.clone().unwrap_or_else(|| Window {
            until: self.last_commit,
            after: InboxNo::new(0),
            shards: read.shards.iter().copied().collect(),
        });
        // A shard that was given up meanwhile is not read on; one that came meanwhile has its turn next.
        window.shards.retain(|shard| read.shards.contains(shard));
        let limit = read.limit.max(1) as usize;
        // One more than asked for tells whether the window goes on.
        let mut messages = self.in_window(&reader, &window, limit + 1);
        let goes_on = messages.len() > limit;
        messages.truncate(limit);
        let reader = if goes_on {
            Reader { window: Some(Window { after: messages[limit - 1].number, ..window }), ..reader }
        } else {
            Reader { seen: window.until, covered: window.shards, window: None }
        };
        let more = self.has_more(&read.shards, &reader);
        Ok(InboxPage { messages, cursor: self.cursor(&reader), more, now })
    }

    /// Whether a read would find anything.
    pub(super) fn has_mail(
        &self,
        shards: &BTreeSet<ShardId>,
        cursor: &InboxCursor,
    ) -> Result<bool, StoreError> {
        match self.reader(cursor) {
            Ok(reader) => Ok(self.has_more(shards, &reader)),
            // The read itself will say that commits were lost.
            Err(StoreError::Fenced { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn has_more<'a>(&self, shards: impl IntoIterator<Item = &'a ShardId>, reader: &Reader) -> bool {
        let has_news =
            |shard: &ShardId| self.arrived(*shard, reader.unread(*shard, self.last_commit)).next().is_some();
        reader.window.is_some() || shards.into_iter().any(has_news)
    }

    /// What the reader has not read of its window, in the order of numbers.
    fn in_window(&self, reader: &Reader, window: &Window, limit: usize) -> Vec<InboxMessage> {
        let shards = || window.shards.iter().map(|shard| (*shard, reader.unread(*shard, window.until)));
        // Rows that were read but not yet consumed lie before the window's first; they are visited for a late
        // commit's sake only. The first page looks for that number once, and later pages know where they are.
        let first = if window.after.get() > 0 {
            Some(window.after.next())
        } else {
            shards().filter_map(|(shard, commits)| self.arrived(shard, commits).min()).min()
        };
        let Some(first) = first else { return Vec::new() };
        let sequences = shards().map(|(shard, commits)| {
            let from = MessageRef { shard, number: first };
            let to = MessageRef { shard, number: InboxNo::new(u64::MAX) };
            let rows = self.rows.range(from..=to).filter(move |(_, row)| commits.contains(&row.commit));
            rows.map(|(at, _)| (at.number, at.shard))
        });
        let message = |(number, shard)| {
            let row = &self.rows[&MessageRef { shard, number }];
            InboxMessage { number, run: row.run, message: row.message, body: row.body.clone() }
        };
        merge(sequences, limit).into_iter().map(message).collect()
    }

    /// The numbers of what these commits made visible, commit by commit.
    fn arrived(&self, shard: ShardId, commits: RangeInclusive<u64>) -> impl Iterator<Item = InboxNo> {
        let (from, to) = (*commits.start(), *commits.end());
        // An empty range of commits must not become a range of the index that runs backwards: that is a panic.
        let range = (from <= to).then(|| {
            self.arrivals.range((shard, from, InboxNo::new(0))..=(shard, to, InboxNo::new(u64::MAX)))
        });
        range.into_iter().flatten().map(|(_, _, number)| *number)
    }

    /// Forgets what readers saw before the store went back to an older state.
    pub(super) fn start_anew(&mut self, newer: &Self) {
        self.restores = newer.restores + 1;
    }

    fn cursor(&self, reader: &Reader) -> InboxCursor {
        let Reader { seen, covered, window } = reader;
        let mut bytes = Vec::new();
        for number in [self.restores, *seen, covered.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(covered.iter().flat_map(|shard| shard.get().to_le_bytes()));
        if let Some(Window { until, after, shards }) = window {
            bytes.extend([*until, after.get()].iter().flat_map(|number| number.to_le_bytes()));
            bytes.extend(shards.iter().flat_map(|shard| shard.get().to_le_bytes()));
        }
        InboxCursor(bytes.into())
    }

    fn reader(&self, cursor: &InboxCursor) -> Result<Reader, StoreError> {
        if cursor.0.is_empty() {
            return Ok(Reader::default());
        }
        let (restores, reader) = Reader::decode(&cursor.0).ok_or_else(|| {
            let bytes = cursor.0.len();
            StoreError::corrupt(format!("an inbox cursor of {bytes} bytes that this store did not make"))
        })?;
        let last = reader.window.as_ref().map_or(reader.seen, |window| window.until);
        if restores != self.restores || last > self.last_commit {
            return Err(StoreError::fenced("the inbox cursor is ahead of the store: commits were lost"));
        }
        Ok(reader)
    }
}

/// How far a reader has come.
#[derive(Clone, Default)]
struct Reader {
    /// All of what this commit and those before it made visible has been read, for the shards covered.
    seen: u64,
    /// Shards that come later are read from their beginning.
    covered: BTreeSet<ShardId>,
    /// The window that is being read.
    window: Option<Window>,
}

/// What is being read page by page: what became visible behind the last commit seen, up to `until`.
#[derive(Clone)]
struct Window {
    until: u64,
    /// The number of the last message of the page before.
    after: InboxNo,
    shards: BTreeSet<ShardId>,
}

impl Reader {
    /// The commits up to `until` that this reader has not seen of a shard.
    fn unread(&self, shard: ShardId, until: u64) -> RangeInclusive<u64> {
        let seen = if self.covered.contains(&shard) { self.seen } else { 0 };
        seen + 1..=until
    }

    /// What `Inbox::cursor` wrote, with the number of restores at the time.
    fn decode(mut bytes: &[u8]) -> Option<(u64, Self)> {
        let number = |bytes: &mut &[u8]| {
            let (head, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Some(u64::from_le_bytes(*head))
        };
        let restores = number(&mut bytes)?;
        let seen = number(&mut bytes)?;
        let covered = usize::try_from(number(&mut bytes)?).ok()?.checked_mul(2)?;
        let (covered, mut rest) = bytes.split_at_checked(covered)?;
        let window = if rest.is_empty() {
            None
        } else {
            let (until, after) = (number(&mut rest)?, InboxNo::new(number(&mut rest)?));
            Some(Window { until, after, shards: decode_shards(rest)? })
        };
        Some((restores, Self { seen, covered: decode_shards(covered)?, window }))
    }
}

fn decode_shards(bytes: &[u8]) -> Option<BTreeSet<ShardId>> {
    let (shards, rest) = bytes.as_chunks();
    let shards = shards.iter().map(|shard| ShardId::new(u16::from_le_bytes(*shard)).ok()).collect();
    if rest.is_empty() { shards } else { None }
}
