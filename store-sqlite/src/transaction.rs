//! One transaction of the writer, as a call sees it: the connection, the time, and the hints that the call gives. It must not
//! know when the transaction commits.

use std::collections::HashSet;
use std::ops::{Deref, DerefMut};
use std::time::{SystemTime, UNIX_EPOCH};

use pgworkflows_core::Timestamp;
use pgworkflows_core::store::Hint;

use crate::connection::Connection;

/// The writer's open transaction.
pub(crate) struct Transaction {
    connection: Connection,
    /// Whether appends are compared with the log.
    pub(crate) verify: bool,
    /// The hints of the call that is executed.
    hints: Vec<Hint>,
}

impl Transaction {
    pub(crate) fn new(connection: Connection, verify: bool) -> Self {
        Self { connection, verify, hints: Vec::new() }
    }

    /// Gives a hint when the transaction is committed.
    pub(crate) fn hint(&mut self, hint: Hint) {
        self.hints.push(hint);
    }

    /// Gives hints when the transaction is committed.
    pub(crate) fn hint_all(&mut self, hints: impl IntoIterator<Item = Hint>) {
        self.hints.extend(hints);
    }

    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Takes the hints of the call.
    pub(crate) fn take_hints(&mut self) -> Vec<Hint> {
        std::mem::take(&mut self.hints)
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Drops hints that were given before.
pub(crate) fn distinct(hints: &mut Vec<Hint>) {
    let mut seen = HashSet::new();
    hints.retain(|hint| seen.insert(*hint));
}

/// The store's clock: that of the machine, which all processes share. A clock kept in the file, which never goes back, would
/// stand still after a step back, and so would every timer and every lease.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
