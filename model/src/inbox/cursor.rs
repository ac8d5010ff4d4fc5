//! How far the inbox of some shards has been read, and what a read returns. It must not know processes.

use crate::check::Guards;
use crate::inbox::Guard;
use crate::inbox::database::{Database, Row};

/// What a statement could see: all transactions below `xmax`, except those in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Snapshot {
    pub(crate) xmax: u8,
    /// The transactions in progress, as bits.
    pub(crate) in_progress: u16,
}

impl Snapshot {
    pub(crate) fn sees(self, xid: u8) -> bool {
        xid < self.xmax && self.in_progress & 1 << xid == 0
    }
}

/// How far the inbox of a fixed set of shards has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Cursor {
    /// The shards, as bits.
    pub(crate) shards: u8,
    /// Everything that this snapshot sees has been read.
    pub(crate) seen: Option<Snapshot>,
    /// The greatest number read.
    pub(crate) greatest: u8,
    /// The snapshot of a read that takes several pages, and the last number that it returned.
    pub(crate) paging: Option<(Snapshot, u8)>,
}

impl Cursor {
    /// Nothing of these shards has been read.
    pub(crate) fn start(shards: u8) -> Self {
        Self { shards, ..Self::default() }
    }

    fn covers(&self, row: Row) -> bool {
        self.shards & 1 << row.shard() != 0
    }

    /// Whether the whole read that goes on with this cursor returns a row.
    pub(crate) fn will_return(&self, guards: &Guards<Guard>, row: Row) -> bool {
        if !self.covers(row) {
            return false;
        }
        if !guards.has(Guard::ReadsBySnapshot) {
            return row.number > self.paging.map_or(self.greatest, |(_, last)| last);
        }
        let was_read = self.seen.is_some_and(|seen| seen.sees(row.xid)) && row.number <= self.greatest;
        let is_behind = |(paging, last): (Snapshot, u8)| paging.sees(row.xid) && row.number <= last;
        !was_read && !self.paging.is_some_and(is_behind)
    }

    /// One statement: the next rows, and the cursor after them.
    pub(crate) fn read(&self, guards: &Guards<Guard>, database: &Database, paged: bool) -> (Vec<Row>, Self) {
        let now = database.snapshot();
        let (snapshot, last) = self.paging.unwrap_or((now, 0));
        let snapshot = if guards.has(Guard::PagesShareSnapshot) { snapshot } else { now };
        let is_next = |row: &&Row| {
            let in_page = snapshot.sees(row.xid) && row.number > last;
            in_page && self.will_return(guards, **row)
        };
        let mut rows: Vec<Row> = database.inbox.iter().filter(is_next).copied().collect();
        let has_next_page = paged && rows.len() > 1;
        if has_next_page {
            rows.truncate(1);
        }
        let last = rows.last().map_or(last, |row| row.number);
        let cursor = if has_next_page {
            Self { paging: Some((snapshot, last)), ..*self }
        } else {
            let greatest = self.greatest.max(last);
            Self { seen: Some(snapshot), greatest, paging: None, ..*self }
        };
        (rows, cursor)
    }

    /// One cursor for the shards of both, if neither is within a read of several pages. It repeats what only one of them
    /// has read.
    pub(crate) fn merge(self, guards: &Guards<Guard>, other: Self) -> Option<Self> {
        let (Some(one), Some(two), None, None) = (self.seen, other.seen, self.paging, other.paging) else {
            return None;
        };
        let older = if one.xmax <= two.xmax { (one, two) } else { (two, one) };
        let (seen, greatest) = if guards.has(Guard::MergeKeepsOlder) {
            (older.0, self.greatest.min(other.greatest))
        } else {
            (older.1, self.greatest.max(other.greatest))
        };
        Some(Self { shards: self.shards | other.shards, seen: Some(seen), greatest, paging: None })
    }
}
