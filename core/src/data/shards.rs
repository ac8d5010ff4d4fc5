//! A queue's range of shards. It must not know who owns them.

use crate::data::derived::derived_u64;
use crate::data::id::{InvalidId, ShardId};

/// A queue's contiguous, non-empty range of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shards {
    first: ShardId,
    last: ShardId,
}

impl Shards {
    /// The range of that many shards, at least one.
    pub(crate) fn new(first: ShardId, count: u16) -> Result<Self, InvalidId> {
        let last = first.get().saturating_add(count.saturating_sub(1));
        Ok(Self { first, last: ShardId::new(last)? })
    }

    pub(crate) fn first(self) -> ShardId {
        self.first
    }

    pub(crate) fn last(self) -> ShardId {
        self.last
    }

    /// How many there are.
    pub(crate) fn count(self) -> u16 {
        self.last.get() - self.first.get() + 1
    }

    /// The shard at `number` modulo the number of shards, counted from the first.
    pub(crate) fn nth(self, number: u64) -> ShardId {
        let nth = number % u64::from(self.count());
        ShardId::new(self.first.get() + nth as u16).expect("it is at most the last shard")
    }
}

/// The first 8 bytes of a key's SHA-256, big endian. Modulo the number of shards of the queue, it is the index of the key's
/// shard. Clients in all languages compute the same number.
pub(crate) fn key_prefix(key: &str) -> u64 {
    derived_u64(&[key.as_bytes()])
}
