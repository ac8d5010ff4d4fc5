//! What happens to shards: they are claimed, handed over, taken away, and thrown back by a failover.

use crate::check::Guards;
use crate::inbox::cursor::Cursor;
use crate::inbox::process::Process;
use crate::inbox::{Guard, State};
use crate::spend::spend;

impl State {
    pub(super) fn claim(&mut self, guards: &Guards<Guard>, by: u8, shard: u8) -> Option<()> {
        if self.database.owners[usize::from(shard)].is_some() || self.processes[usize::from(by)].serves(shard)
        {
            return None;
        }
        if by >= self.left.processes {
            return None;
        }
        spend(&mut self.left.claims)?;
        self.database.owners[usize::from(shard)] = Some(by);
        let process = self.process(by);
        process.changes += 1;
        match process.cursors.first_mut().filter(|_| !guards.has(Guard::ClaimReadsAnew)) {
            Some(cursor) => cursor.shards |= 1 << shard,
            None => process.cursors.push(Cursor::start(1 << shard)),
        }
        Some(())
    }

    pub(super) fn hand_over(&mut self, guards: &Guards<Guard>, by: u8, shard: u8) -> Option<()> {
        if self.database.owners[usize::from(shard)] != Some(by)
            || !self.processes[usize::from(by)].serves(shard)
        {
            return None;
        }
        spend(&mut self.left.hand_overs)?;
        self.database.owners[usize::from(shard)] = None;
        let process = self.process(by);
        process.changes += 1;
        for cursor in &mut process.cursors {
            cursor.shards &= !(1 << shard);
        }
        process.cursors.retain(|cursor| cursor.shards != 0);
        if guards.has(Guard::HandOverForgets) {
            process.forget(shard);
        }
        Some(())
    }

    pub(super) fn fence(&mut self, by: u8) -> Option<()> {
        if !self.database.owners.contains(&Some(by)) {
            return None;
        }
        spend(&mut self.left.takeovers)?;
        self.disown(by);
        Some(())
    }

    pub(super) fn disown(&mut self, by: u8) {
        for owner in &mut self.database.owners {
            *owner = owner.filter(|owner| *owner != by);
        }
    }

    /// A process that was refused drops its memory, and releases what it still owns.
    pub(super) fn lose(&mut self, by: u8) -> Option<()> {
        *self.process(by) = Process::default();
        self.disown(by);
        Some(())
    }

    pub(super) fn standby_lags(&mut self) -> Option<()> {
        if self.standby.is_some() || self.left.failovers == 0 {
            return None;
        }
        self.standby = Some(self.database.clone());
        Some(())
    }

    /// Open transactions are lost with the primary. So are the reads under way. The only process is the first one.
    pub(super) fn fail_over(&mut self, guards: &Guards<Guard>) -> Option<()> {
        let mut standby = self.standby.take()?;
        spend(&mut self.left.failovers)?;
        standby.open.clear();
        for client in [0, 1] {
            for nth in 0..self.accepted[usize::from(client)] {
                let id = client * 4 + nth;
                let waits = standby.inbox.iter().any(|row| row.id == id);
                if !waits && !standby.logged.contains(&id) {
                    self.lost.push(id);
                }
            }
        }
        // A process whose append was lost learns that from its next heartbeat: see the ownership model.
        let is_append_lost = self.database.logged != standby.logged;
        self.database = standby;
        if is_append_lost {
            return self.lose(0);
        }
        for process in &mut self.processes {
            if process.reading.as_ref().is_some_and(|reading| !reading.arrived) {
                process.reading = None;
            }
            if guards.has(Guard::ReconnectReadsAnew) {
                for cursor in &mut process.cursors {
                    *cursor = Cursor::start(cursor.shards);
                }
            }
            process.end_read_if_used_up();
        }
        Some(())
    }
}
