//! The queues that a run has asked for: a local resolution says where the shards of each are, so the ids of children in other
//! queues follow from the log. It must not know how a worker learns of queues.

use std::collections::BTreeMap;

use super::Scope;
use crate::data::id::ShardId;
use crate::data::name::Name;
use crate::data::shards::Shards;
use crate::log::event::Event;
use crate::workflow::command::{EVENT_BYTES, Source};
use crate::workflow::fault::Fault;
use crate::workflow::queues::QueueLookup;

/// The queues that the log of a run has resolved.
pub(super) type ResolvedQueues = BTreeMap<Name, Shards>;

impl Scope {
    /// The shards of a queue, or an error if there is no such queue. A queue that exists is logged once; whether one exists that
    /// was missing before is asked again. `None` after a fault of the run.
    pub(crate) fn queue_shards(&self, queue: &Name, source: Source) -> Option<Result<Shards, NoSuchQueue>> {
        let resolved = |queue| self.inner.borrow().queues.as_ref()?.get(queue).copied();
        if let Some(shards) = resolved(queue) {
            return Some(Ok(shards));
        }
        let is_match =
            |local: &Event| matches!(local, Event::QueueResolved { queue: its, .. } if its == queue);
        let make = || {
            let (first_shard, shard_count) = match self.child_ids.find_queue(queue, self.run) {
                QueueLookup::Found(shards) => (shards.first().get(), shards.count()),
                QueueLookup::Missing => (0, 0),
                QueueLookup::Unknown => {
                    self.put_fault(Fault::UnknownQueue { queue: queue.clone(), source });
                    return None;
                }
            };
            let (first_shard, shard_count) = (first_shard.into(), shard_count.into());
            Some((Event::QueueResolved { queue: queue.clone(), first_shard, shard_count }, EVENT_BYTES))
        };
        let did = format_args!("starts a child in queue `{queue}`");
        let Event::QueueResolved { first_shard, shard_count, .. } =
            self.local(&did, source, is_match, make)?
        else {
            return None;
        };
        let first = u16::try_from(first_shard).ok().and_then(|first| ShardId::new(first).ok());
        let count = u16::try_from(shard_count).ok().filter(|count| *count > 0);
        let shards = first.zip(count).and_then(|(first, count)| Shards::new(first, count).ok());
        let Some(shards) = shards else { return Some(Err(NoSuchQueue)) };
        self.inner.borrow_mut().queues.get_or_insert_default().insert(queue.clone(), shards);
        Some(Ok(shards))
    }

    fn put_fault(&self, fault: Fault) {
        self.inner.borrow_mut().fault.get_or_insert_with(|| Box::new(fault));
    }
}

/// There is no queue of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSuchQueue;
