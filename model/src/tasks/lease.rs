//! Executor leases: renewed, fenced, and lost with their processes.

use crate::check::Guards;
use crate::spend::spend;
use crate::tasks::database::Lease;
use crate::tasks::process::{Claim, Process};
use crate::tasks::{Guard, State};

impl State {
    pub(super) fn expire(&mut self, lease: u8) -> Option<()> {
        let row = &mut self.database.leases[usize::from(lease)];
        if row.expired {
            return None;
        }
        spend(&mut self.left.expiries)?;
        row.expired = true;
        Some(())
    }

    pub(super) fn renew(&mut self, by: u8) -> Option<()> {
        let lease = self.process(by).lease;
        let row = &mut self.database.leases[usize::from(lease)];
        if row.fenced {
            self.begin_lease(by);
            return Some(());
        }
        std::mem::take(&mut row.expired).then_some(())
    }

    /// A process whose executor lease is fenced drops its tasks, and begins another lease.
    pub(super) fn begin_lease(&mut self, by: u8) {
        self.database.leases.push(Lease::default());
        let lease = u8::try_from(self.database.leases.len() - 1).expect("few leases");
        let process = self.process(by);
        let own = process.work.filter(|work| work.local.is_some());
        *process = Process { work: own, ..Process::new(lease) };
    }

    /// Fences the lease, and frees its tasks in a statement that sees every claim whose lock it waited for.
    pub(super) fn fence(&mut self, guards: &Guards<Guard>, lease: u8) -> Option<()> {
        let row = self.database.leases[usize::from(lease)];
        let is_shared = |process: &Process| process.lease == lease && process.claim == Some(Claim::Checked);
        let is_locked = self.processes.iter().any(is_shared) && guards.has(Guard::ClaimSharesLease);
        if !row.expired || row.fenced || is_locked {
            return None;
        }
        self.database.leases[usize::from(lease)].fenced = true;
        let is_held = self.database.task.is_some_and(|task| task.holder == Some(lease));
        if is_held && guards.has(Guard::FenceFreesTasks) {
            self.lose_task(guards);
        }
        Some(())
    }

    pub(super) fn lose_task(&mut self, guards: &Guards<Guard>) {
        self.lost += 1;
        let at_most_once = self.left.at_most_once && guards.has(Guard::AtMostOnceIsNotFreed);
        let counted = if guards.has(Guard::LossesAreCounted) { self.left.losses } else { u8::MAX };
        self.database.lose_task(if at_most_once { 0 } else { counted });
    }

    pub(super) fn crash(&mut self, by: u8) -> Option<()> {
        spend(&mut self.left.crashes)?;
        let was_owner = self.database.owner == by;
        self.process(by).work = None;
        self.begin_lease(by);
        // Its lease as an owner runs out, too.
        if was_owner {
            self.lost += 1;
            self.change_owner();
        }
        Some(())
    }
}
