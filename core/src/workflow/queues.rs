//! What a worker knows of the queues of its store: where the shards of each are, which never changes. It must not know how it
//! learns that, or which runs ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::data::id::RunId;
use crate::data::name::Name;
use crate::data::shards::Shards;
use crate::store::Queue;

/// The queues that a worker knows.
#[derive(Debug, Default)]
pub(crate) struct KnownQueues(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    queues: BTreeMap<Name, Shards>,
    /// The runs that asked for a queue which the store did not have: each takes its answer once, because the queue may be created
    /// at any time.
    missing: BTreeSet<(Name, RunId)>,
}

/// What is known of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueLookup {
    /// It has these shards.
    Found(Shards),
    /// There was none of that name when the store was asked.
    Missing,
    /// The store has to be asked.
    Unknown,
}

impl KnownQueues {
    /// Those that the store has named.
    pub(crate) fn of(queues: &[Queue]) -> Self {
        let known = Self::default();
        known.learn(queues, []);
        known
    }

    /// What a run finds out about a queue.
    pub(crate) fn find(&self, queue: &Name, run: RunId) -> QueueLookup {
        if let Some(shards) = self.read().queues.get(queue) {
            return QueueLookup::Found(*shards);
        }
        let was_missing = self.write().missing.remove(&(queue.clone(), run));
        if was_missing { QueueLookup::Missing } else { QueueLookup::Unknown }
    }

    /// The store has named all of its queues, after these runs had asked for these.
    pub(crate) fn learn(&self, queues: &[Queue], asked: impl IntoIterator<Item = (Name, RunId)>) {
        let mut known = self.write();
        let found = queues.iter().filter_map(|queue| {
            let shards = Shards::new(queue.first_shard, queue.shard_count).ok()?;
            Some((Name::from(queue.name.as_str()), shards))
        });
        known.queues.extend(found);
        known.missing.extend(asked);
    }

    /// Drops answers that no run has taken: it may have left for another worker.
    pub(crate) fn forget_missing(&self) {
        if !self.read().missing.is_empty() {
            self.write().missing.clear();
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::ShardId;
    use crate::testing::{BORN, run_id};

    #[test]
    fn queue_is_unknown_until_the_store_was_asked_and_missing_only_for_the_run_that_asked() {
        let queue = |name: &str, first| Queue {
            name: name.to_owned(),
            first_shard: ShardId::new(first).unwrap(),
            shard_count: 8,
            now: BORN,
        };
        let (gpu, cpu) = (Name::from("gpu"), Name::from("cpu"));
        let known = KnownQueues::of(&[queue("gpu", 64)]);
        let found = QueueLookup::Found(Shards::new(ShardId::new(64).unwrap(), 8).unwrap());
        assert_eq!(known.find(&gpu, run_id(1)), found);
        assert_eq!(known.find(&cpu, run_id(1)), QueueLookup::Unknown);
        known.learn(&[queue("gpu", 64)], [(cpu.clone(), run_id(1)), (gpu.clone(), run_id(1))]);
        assert_eq!(known.find(&gpu, run_id(1)), found);
        assert_eq!(known.find(&cpu, run_id(2)), QueueLookup::Unknown, "it did not ask");
        assert_eq!(known.find(&cpu, run_id(1)), QueueLookup::Missing);
        assert_eq!(known.find(&cpu, run_id(1)), QueueLookup::Unknown, "it took the answer");
        known.learn(&[], [(cpu.clone(), run_id(1))]);
        known.forget_missing();
        assert_eq!(known.find(&cpu, run_id(1)), QueueLookup::Unknown);
    }
}
