//! The shards that a processor serves, and the next position of each shard's log. It must not know the runs.

use std::collections::BTreeMap;

use crate::data::id::{Position, RunId, ShardId};
use crate::store::lease::ClaimedShard;

/// The shards, each with the next position of its log.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnedShards(BTreeMap<ShardId, Position>);

impl OwnedShards {
    /// A shard was claimed.
    pub(super) fn add(&mut self, claimed: &ClaimedShard) {
        self.0.insert(claimed.shard, claimed.next_position);
    }

    pub(super) fn owns(&self, shard: ShardId) -> bool {
        self.0.contains_key(&shard)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ShardId> {
        self.0.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether these are all of them. The answer to a read of other shards must not move a watermark.
    pub(super) fn are(&self, shards: &[ShardId]) -> bool {
        self.0.keys().eq(shards)
    }

    /// The position of the next event of a run.
    pub(super) fn next_position(&mut self, run: RunId) -> &mut Position {
        let shard = run.shard();
        let position = self.0.get_mut(&shard);
        position.unwrap_or_else(|| panic!("run {run} is in shard {shard}, which this processor does not own"))
    }

    /// Restores earlier positions. Shards that were claimed since keep theirs.
    pub(super) fn restore(&mut self, before: Self) {
        self.0.extend(before.0);
    }
}
