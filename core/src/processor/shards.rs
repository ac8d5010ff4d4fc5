//! The shards that a processor serves, and the positions at which their logs go on.

use std::collections::BTreeMap;

use crate::data::id::{Position, RunId, ShardId};
use crate::store::lease::ClaimedShard;

/// The shards, each with the next position of its log.
#[derive(Clone, Debug, Default)]
pub(super) struct Shards(BTreeMap<ShardId, Position>);

impl Shards {
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

    /// Whether these are all of them: the answer to a question about others moves no mark.
    pub(super) fn are(&self, shards: &[ShardId]) -> bool {
        self.0.keys().eq(shards)
    }

    /// The position of the next event of a run.
    pub(super) fn next_position(&mut self, run: RunId) -> &mut Position {
        let shard = run.shard();
        let position = self.0.get_mut(&shard);
        position.unwrap_or_else(|| panic!("run {run} is of shard {shard}, which is not ours"))
    }

    /// Goes back to the positions of before. Shards that came since keep theirs.
    pub(super) fn go_back(&mut self, before: Self) {
        self.0.extend(before.0);
    }
}
