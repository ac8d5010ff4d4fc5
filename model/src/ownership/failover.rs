//! A failover to a standby that lags: what it does not have is lost, without anybody being told.

use crate::ownership::State;
use crate::ownership::claim::Stage;
use crate::ownership::database::Lease;
use crate::spend::spend;

impl State {
    pub(super) fn standby_lags(&mut self) -> Option<()> {
        if self.standby.is_some() || self.left.failovers == 0 {
            return None;
        }
        self.standby = Some(self.database.clone());
        Some(())
    }

    /// Transactions under way are lost with the primary; requests that had not reached it reach the new one.
    pub(super) fn fail_over(&mut self) -> Option<()> {
        let mut standby = self.standby.take()?;
        spend(&mut self.left.failovers)?;
        for frame in &self.database.log {
            if !standby.log.contains(frame) {
                self.lost |= frame.event;
            }
        }
        for lost in &self.database.leases[standby.leases.len()..] {
            standby.leases.push(Lease { missing: true, ..*lost });
        }
        self.database = standby;
        self.appends.retain(|call| !call.checked);
        self.claims.retain(|claim| matches!(claim.stage, Stage::Sent | Stage::Answered { .. }));
        Some(())
    }
}
