//! Clients: their transactions draw a number for a message early, and commit late.

use crate::inbox::State;
use crate::spend::spend;

impl State {
    pub(super) fn write(&mut self, client: u8) -> Option<()> {
        let nth = self.accepted[usize::from(client)];
        let is_open = self.database.open.iter().any(|row| row.shard() == client);
        if nth == self.left.messages || is_open {
            return None;
        }
        self.database.insert(client * 4 + nth);
        Some(())
    }

    pub(super) fn commit(&mut self, client: u8) -> Option<()> {
        let id = self.database.open.iter().find(|row| row.shard() == client)?.id;
        self.database.commit(id)?;
        let accepted = &mut self.accepted[usize::from(client)];
        *accepted = (*accepted).max(id % 4 + 1);
        Some(())
    }

    pub(super) fn repeat(&mut self, client: u8) -> Option<()> {
        let last = self.accepted[usize::from(client)].checked_sub(1)?;
        if self.database.open.iter().any(|row| row.shard() == client) {
            return None;
        }
        spend(&mut self.left.repetitions)?;
        self.database.insert(client * 4 + last);
        Some(())
    }
}
