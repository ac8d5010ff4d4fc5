//! What a process remembers of the inbox: the shards that it serves, what it has read, and what it is about to log.

use crate::inbox::cursor::Cursor;
use crate::inbox::database::Row;

/// A process, between its claims and its appends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// How far each set of its shards has been read.
    pub(crate) cursors: Vec<Cursor>,
    /// How often it has claimed or handed over a shard.
    pub(crate) changes: u8,
    /// The read under way, or the page that it returned.
    pub(crate) reading: Option<Reading>,
    /// The messages that were taken from pages, and that a read under way may still return.
    pub(crate) taken: Vec<Row>,
    /// The messages that wait for the next append, in the order in which they were taken.
    pub(crate) queued: Vec<Row>,
}

/// A read, by the cursor that it began with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reading {
    pub(crate) from: Cursor,
    /// The process's changes when it was sent.
    pub(crate) changes: u8,
    /// What the database answered, and the cursor after it.
    pub(crate) answer: (Vec<Row>, Cursor),
    /// Whether the answer has arrived: its rows are the page that is being delivered.
    pub(crate) arrived: bool,
}

impl Process {
    pub(crate) fn serves(&self, shard: u8) -> bool {
        self.cursors.iter().any(|cursor| cursor.shards & 1 << shard != 0)
    }

    /// Once no read is under way, nothing returns what has left the inbox.
    pub(crate) fn end_read_if_used_up(&mut self) {
        let is_used_up = |reading: &Reading| reading.arrived && reading.answer.0.is_empty();
        if self.reading.as_ref().is_none_or(is_used_up) {
            self.reading = None;
            self.taken.retain(|row| self.queued.contains(row));
        }
    }

    /// Forgets the messages of a shard that the process does not serve any more.
    pub(crate) fn forget(&mut self, shard: u8) {
        self.taken.retain(|row| row.shard() != shard);
        self.queued.retain(|row| row.shard() != shard);
        if let Some(Reading { answer: (rows, _), arrived: true, .. }) = &mut self.reading {
            rows.retain(|row| row.shard() != shard);
        }
        self.end_read_if_used_up();
    }
}
