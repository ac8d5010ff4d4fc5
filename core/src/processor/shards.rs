//! The shards that a processor owns, the next position of each shard's log, and how far each is on its way to another
//! owner. It must not know the runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::id::{ClaimId, Position, RunId, ShardId};
use crate::data::time::Timestamp;
use crate::store::append::Released;
use crate::store::lease::ClaimedShard;

/// The shards of a lease.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnedShards(BTreeMap<ShardId, Owned>);

#[derive(Clone, Copy, Debug)]
struct Owned {
    /// The claim that took it.
    claim: ClaimId,
    next_position: Position,
    stage: Stage,
}

/// How far a shard is on its way to another owner. There is no way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It stays.
    Kept,
    /// It starts no attempts or steps, and waits for those that are being executed, but not longer than this.
    Draining { until: Timestamp },
    /// It leaves with the next append that can hold all that waits to be written to it.
    Drained,
    /// Its runs have left memory, and nothing is done for it any more. An append releases it, or the next one will.
    Leaving,
}

impl OwnedShards {
    /// A shard was claimed.
    pub(super) fn add(&mut self, claimed: &ClaimedShard) {
        let ClaimedShard { shard, claim, next_position, .. } = *claimed;
        self.0.insert(shard, Owned { claim, next_position, stage: Stage::Kept });
    }

    /// The claim that took a shard.
    pub(super) fn claim_of(&self, shard: ShardId) -> Option<ClaimId> {
        self.0.get(&shard).map(|owned| owned.claim)
    }

    /// Whether the shard belongs to the lease, even if it is leaving.
    pub(super) fn owns(&self, shard: ShardId) -> bool {
        self.0.contains_key(&shard)
    }

    /// Whether work is done for the shard.
    pub(super) fn serves(&self, shard: ShardId) -> bool {
        self.0.get(&shard).is_some_and(|owned| owned.stage != Stage::Leaving)
    }

    /// Whether the shard stays, so that new attempts may begin.
    pub(super) fn keeps(&self, shard: ShardId) -> bool {
        self.0.get(&shard).is_some_and(|owned| owned.stage == Stage::Kept)
    }

    /// The shards that stay.
    pub(super) fn kept(&self) -> impl Iterator<Item = ShardId> {
        self.0.iter().filter(|(_, owned)| owned.stage == Stage::Kept).map(|(shard, _)| *shard)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The shards that are on their way to another owner.
    pub(super) fn going(&self) -> BTreeSet<ShardId> {
        self.0.iter().filter(|(_, owned)| owned.stage != Stage::Kept).map(|(shard, _)| *shard).collect()
    }

    /// A shard is to go to another owner, and waits for what is being executed until then.
    pub(super) fn drain(&mut self, shard: ShardId, until: Timestamp) {
        if let Some(owned) = self.0.get_mut(&shard) {
            owned.stage = Stage::Draining { until };
        }
    }

    /// Whether the shard waits for what is being executed, before it goes to another owner.
    pub(super) fn is_draining(&self, shard: ShardId) -> bool {
        self.0.get(&shard).is_some_and(|owned| matches!(owned.stage, Stage::Draining { .. }))
    }

    /// Ends the wait for shards of which nothing is executed any more, or which have waited long enough. Returns those of
    /// which something still is.
    pub(super) fn end_drains(
        &mut self,
        now: Timestamp,
        is_executed: impl Fn(ShardId) -> bool,
    ) -> Vec<ShardId> {
        let mut overdue = Vec::new();
        for (shard, owned) in &mut self.0 {
            let Stage::Draining { until } = owned.stage else { continue };
            let is_executed = is_executed(*shard);
            if now >= until || !is_executed {
                owned.stage = Stage::Drained;
                overdue.extend(is_executed.then_some(*shard));
            }
        }
        overdue
    }

    /// The time at which the next wait ends.
    pub(super) fn next_drain_end(&self) -> Option<Timestamp> {
        let until = |owned: &Owned| match owned.stage {
            Stage::Draining { until } => Some(until),
            Stage::Kept | Stage::Drained | Stage::Leaving => None,
        };
        self.0.values().filter_map(until).min()
    }

    /// The shards that wait for the append that releases them, and whether their runs have left memory.
    pub(super) fn to_release(&self) -> impl Iterator<Item = (ShardId, bool)> {
        let is_ready = |(_, owned): &(_, &Owned)| matches!(owned.stage, Stage::Drained | Stage::Leaving);
        self.0.iter().filter(is_ready).map(|(shard, owned)| (*shard, owned.stage == Stage::Leaving))
    }

    /// From now on nothing is done for these shards.
    pub(super) fn leave(&mut self, shards: &BTreeSet<ShardId>) {
        for shard in shards {
            if let Some(owned) = self.0.get_mut(shard) {
                owned.stage = Stage::Leaving;
            }
        }
    }

    /// The release of a shard at its current position.
    pub(super) fn release_of(&self, shard: ShardId) -> Option<Released> {
        self.0.get(&shard).map(|owned| Released { shard, next_position: owned.next_position })
    }

    /// The shard's release is in the store.
    pub(super) fn remove(&mut self, shard: ShardId) {
        self.0.remove(&shard);
    }

    /// The position of the next event of a run.
    pub(super) fn next_position(&mut self, run: RunId) -> &mut Position {
        let shard = run.shard();
        let owned = self.0.get_mut(&shard);
        let owned = owned
            .unwrap_or_else(|| panic!("run {run} is in shard {shard}, which this processor does not own"));
        &mut owned.next_position
    }

    /// Restores earlier positions. Shards that were claimed since keep theirs.
    pub(super) fn restore(&mut self, before: &Self) {
        for (shard, earlier) in &before.0 {
            if let Some(owned) = self.0.get_mut(shard) {
                owned.next_position = earlier.next_position;
            }
        }
    }
}
