//! The table `inbox`, the owners of the shards, and the messages that the log has. It must not know who reads them.

use crate::inbox::cursor::Snapshot;

/// The committed rows, and those of open transactions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    pub(crate) next_xid: u8,
    pub(crate) next_number: u8,
    /// The rows of transactions that are open, at most one for each client.
    pub(crate) open: Vec<Row>,
    /// The committed rows, by number.
    pub(crate) inbox: Vec<Row>,
    pub(crate) owners: [Option<u8>; 2],
    /// The messages in the log, in its order.
    pub(crate) logged: Vec<u8>,
}

/// A message in the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Row {
    pub(crate) number: u8,
    pub(crate) id: u8,
    /// The transaction that wrote it.
    pub(crate) xid: u8,
}

impl Row {
    /// A client's messages all go to the shard of its number.
    pub(crate) fn shard(self) -> u8 {
        self.id / 4
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            next_xid: 1,
            next_number: 1,
            open: Vec::new(),
            inbox: Vec::new(),
            owners: [Some(0); 2],
            logged: Vec::new(),
        }
    }
}

impl Database {
    /// What is visible to a statement that begins now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let in_progress = self.open.iter().fold(0, |xids, row| xids | 1 << row.xid);
        Snapshot { xmax: self.next_xid, in_progress }
    }

    /// A client's transaction writes a message: it draws its number now, and commits later.
    pub(crate) fn insert(&mut self, id: u8) {
        self.open.push(Row { number: self.next_number, id, xid: self.next_xid });
        self.next_number += 1;
        self.next_xid += 1;
    }

    /// Commits the transaction of a message.
    pub(crate) fn commit(&mut self, id: u8) -> Option<()> {
        let place = self.open.iter().position(|row| row.id == id)?;
        let row = self.open.remove(place);
        // A message that is repeated while it waits is not inserted again.
        if self.inbox.iter().all(|other| other.id != id) {
            self.inbox.push(row);
            self.inbox.sort_unstable();
        }
        Some(())
    }
}
