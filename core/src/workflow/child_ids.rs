//! The ids of children. They follow from the parent, its durable call and the time of the poll, so that a replay gives the same
//! ones. It must not know how a child is started.

use std::collections::BTreeMap;

use crate::data::child::Parent;
use crate::data::derived::derived_u64;
use crate::data::id::{CommandId, RunId};
use crate::data::shards::{Shards, key_prefix};
use crate::data::time::Timestamp;

/// How runs find the ids of their children.
#[derive(Clone, Debug, Default)]
pub(crate) enum ChildIds {
    /// Children live in the shard of their parent: there is no queue, as in tests of single parts.
    #[default]
    BesideParent,
    /// Children live in these shards, those of the queue.
    Among(Shards),
    /// A history that is replayed without a queue has them.
    Recorded(BTreeMap<CommandId, RunId>),
}

impl ChildIds {
    /// The id of a child with that key.
    pub(crate) fn child(&self, parent: Parent, key: Option<&str>, now: Timestamp) -> RunId {
        let hash = hash_of(parent);
        let beside = || RunId::new(now, parent.run.shard(), hash);
        match self {
            Self::BesideParent => beside(),
            // As a client places a run, so that all starts with one key meet in one shard.
            Self::Among(shards) => RunId::new(now, shards.nth(key.map_or(hash >> 32, key_prefix)), hash),
            Self::Recorded(children) => children.get(&parent.call).copied().unwrap_or_else(beside),
        }
    }
}

fn hash_of(parent: Parent) -> u64 {
    derived_u64(&[b"child", &parent.run.as_u128().to_be_bytes(), &parent.call.get().to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::data::id::ShardId;
    use crate::testing::{BORN, run_id};

    #[test]
    fn children_spread_over_the_shards_of_the_queue_and_those_with_one_key_share_a_shard() {
        let first = ShardId::new(16).unwrap();
        let ids = ChildIds::Among(Shards::new(first, 8).unwrap());
        let child = |call, key| ids.child(Parent { run: run_id(1), call: CommandId::new(call) }, key, BORN);
        let children: BTreeSet<RunId> = (1..200).map(|call| child(call, None)).collect();
        let shards: BTreeSet<u16> = children.iter().map(|child| child.shard().get()).collect();
        assert_eq!(children.len(), 199);
        assert_eq!(shards, (16..24).collect());
        let keyed: BTreeSet<ShardId> = (1..200).map(|call| child(call, Some("k")).shard()).collect();
        assert_eq!(keyed.len(), 1);
        assert_eq!(child(7, None), child(7, None));
        assert_eq!(child(7, None).born(), BORN);
    }

    #[test]
    fn recorded_id_is_taken() {
        let parent = Parent { run: run_id(1), call: CommandId::new(3) };
        let recorded = ChildIds::Recorded(BTreeMap::from([(parent.call, run_id(9))]));
        assert_eq!(recorded.child(parent, None, BORN), run_id(9));
    }
}
