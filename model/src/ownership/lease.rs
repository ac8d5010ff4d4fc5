//! Leases: renewed, fenced, released, lost. It must not know appends, except that they lock their lease.

use crate::check::Guards;
use crate::ownership::{Guard, State, property};
use crate::spend::spend;

impl State {
    /// Whether a transaction holds the lock of this lease's row.
    pub(super) fn is_locked(&self, guards: &Guards<Guard>, lease: u8) -> bool {
        self.claims.iter().any(|claim| claim.locks(guards, lease))
            || self.appends.iter().any(|call| call.checked && call.append.lease == lease)
    }

    /// A process gives up its lease: it drops its memory and sends a release.
    pub(super) fn lose(&mut self, by: u8) -> Option<()> {
        let lease = self.forget(by);
        self.releases.extend(lease);
        Some(())
    }

    /// A process drops its memory. It will not take the answers to earlier claims.
    pub(super) fn forget(&mut self, by: u8) -> Option<u8> {
        for claim in self.claims.iter_mut().filter(|claim| claim.by == Some(by)) {
            claim.by = None;
        }
        self.processes[usize::from(by)].lose()
    }

    pub(super) fn give_up(&mut self, by: u8) -> Option<()> {
        self.processes[usize::from(by)].lease?;
        spend(&mut self.left.give_ups)?;
        self.lose(by)
    }

    pub(super) fn crash(&mut self, by: u8) -> Option<()> {
        spend(&mut self.left.crashes)?;
        self.forget(by);
        Some(())
    }

    pub(super) fn heartbeat(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let process = &self.processes[usize::from(by)];
        let lease = process.lease.filter(|lease| !self.is_locked(guards, *lease))?;
        let database = &mut self.database;
        let has_append =
            database.applied.iter().any(|row| row.lease == lease && row.number >= process.committed);
        if database.is_fenced(lease) || !has_append && guards.has(Guard::HeartbeatNamesAppend) {
            return self.lose(by);
        }
        if !has_append {
            self.breaks(property::RENEWED_MEANS_CURRENT);
            return Some(());
        }
        let row = &mut database.leases[usize::from(lease)];
        std::mem::take(&mut row.expired).then_some(())
    }

    /// Heartbeats skip leases that are locked.
    pub(super) fn fence_expired(&mut self, guards: &Guards<Guard>, lease: u8) -> Option<()> {
        let row = self.database.leases[usize::from(lease)];
        if !row.expired || self.database.is_fenced(lease) || self.is_locked(guards, lease) {
            return None;
        }
        self.database.fence(lease);
        Some(())
    }

    pub(super) fn release(&mut self, guards: &Guards<Guard>, lease: u8) -> Option<()> {
        if guards.has(Guard::ReleaseLocksLease) && self.is_locked(guards, lease) {
            return None;
        }
        self.releases.retain(|other| *other != lease);
        if !self.database.is_fenced(lease) {
            self.database.fence(lease);
            self.database.owner = self.database.owner.filter(|owner| *owner != lease);
        }
        Some(())
    }

    pub(super) fn expire(&mut self, lease: u8) -> Option<()> {
        let is_fenced = self.database.is_fenced(lease);
        let row = &mut self.database.leases[usize::from(lease)];
        if is_fenced || row.expired {
            return None;
        }
        spend(&mut self.left.expiries)?;
        row.expired = true;
        Some(())
    }
}
