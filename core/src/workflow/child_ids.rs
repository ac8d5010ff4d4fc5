//! The ids of children. They follow from the parent, its durable call and the time of the poll, so that a replay gives the same
//! ones. It must not know how a child is started.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::data::child::Parent;
use crate::data::derived::derived_u64;
use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::data::shards::{Shards, key_prefix};
use crate::data::time::Timestamp;
use crate::workflow::queues::{KnownQueues, QueueLookup};

/// How runs find the ids of their children.
#[derive(Clone, Debug, Default)]
pub(crate) enum ChildIds {
    /// Children live in the shard of their parent: there is no queue, as in tests of single parts.
    #[default]
    BesideParent,
    /// Children live in these shards, those of the queue, or in another queue.
    Among(Shards, OtherQueues),
    /// A history that is replayed without a queue has them.
    Recorded(BTreeMap<CommandId, RunId>),
}

/// Where children of other queues live.
#[derive(Clone, Debug)]
pub(crate) enum OtherQueues {
    /// In the shards of these.
    Known(Arc<KnownQueues>),
    /// In the worker's own queue, whatever it is called.
    Own,
}

impl ChildIds {
    /// The id of a child with that key, which lives in these shards or in those of its parent's queue.
    pub(crate) fn child(
        &self,
        parent: Parent,
        key: Option<&str>,
        within: Option<Shards>,
        now: Timestamp,
    ) -> RunId {
        let hash = hash_of(parent);
        let beside = || RunId::new(now, parent.run.shard(), hash);
        // As a client places a run, so that all starts with one key meet in one shard.
        let among = |shards: Shards| RunId::new(now, shards.nth(key.map_or(hash >> 32, key_prefix)), hash);
        match self {
            Self::BesideParent => within.map_or_else(beside, among),
            Self::Among(own, _) => among(within.unwrap_or(*own)),
            Self::Recorded(children) => children.get(&parent.call).copied().unwrap_or_else(beside),
        }
    }

    /// What a run finds out about another queue.
    pub(crate) fn find_queue(&self, queue: &Name, run: RunId) -> QueueLookup {
        match self {
            Self::Among(_, OtherQueues::Known(known)) => known.find(queue, run),
            Self::Among(own, OtherQueues::Own) => QueueLookup::Found(*own),
            // There is no store. A history has what its run has found.
            Self::BesideParent | Self::Recorded(_) => QueueLookup::Missing,
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
        let ids = ChildIds::Among(Shards::new(first, 8).unwrap(), OtherQueues::Own);
        let child =
            |call, key| ids.child(Parent { run: run_id(1), call: CommandId::new(call) }, key, None, BORN);
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
    fn child_of_another_queue_lives_in_a_shard_of_that_queue() {
        let shards = |first| Shards::new(ShardId::new(first).unwrap(), 4).unwrap();
        let ids = ChildIds::Among(shards(0), OtherQueues::Own);
        let parent = |call| Parent { run: run_id(1), call: CommandId::new(call) };
        let children =
            (1..100).map(|call| ids.child(parent(call), None, Some(shards(32)), BORN).shard().get());
        assert_eq!(children.collect::<BTreeSet<_>>(), (32..36).collect());
        assert_eq!(
            ids.find_queue(&Name::from("gpu"), run_id(1)),
            QueueLookup::Found(shards(0)),
            "in tests all queues are one"
        );
    }

    #[test]
    fn recorded_id_is_taken() {
        let parent = Parent { run: run_id(1), call: CommandId::new(3) };
        let recorded = ChildIds::Recorded(BTreeMap::from([(parent.call, run_id(9))]));
        assert_eq!(recorded.child(parent, None, None, BORN), run_id(9));
    }
}
