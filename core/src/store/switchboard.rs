//! The short way into a run: a client hands a start to the processor of its own process that owns the run's shard,
//! past the inbox. It must not know what a processor makes of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::oneshot;

use crate::data::id::{RunId, ShardId};
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::store::watch::Notice;

/// Connects the clients and the workers that share a store within a process. A store keeps one, and returns it from
/// [`Store::switchboard`](super::Store::switchboard); it is empty until a worker serves some shards. Cheap to clone;
/// clones are handles to the same one.
#[derive(Clone, Default)]
pub struct Switchboard {
    lines: Arc<RwLock<BTreeMap<ShardId, Arc<Line>>>>,
}

/// What takes a processor's starts.
type Line = dyn Fn(LocalStart) + Send + Sync;

/// A start on its way to a processor of this process. Whoever drops it refuses it.
#[derive(Debug)]
pub(crate) struct LocalStart {
    pub(crate) run: RunId,
    pub(crate) workflow: Name,
    pub(crate) input: Payload,
    pub(crate) start_at: Option<Timestamp>,
    /// Told when the run is in the log. A client that waits no longer will have submitted the start elsewhere.
    pub(crate) accepted: oneshot::Sender<()>,
    /// Told how the run ended, if it ends while it is in this process's memory.
    pub(crate) closed: oneshot::Sender<Notice>,
}

impl Switchboard {
    /// One of the shards from `first` to `last` that a processor of this process owns: `wanted` or the next.
    pub(crate) fn nearest(&self, wanted: ShardId, first: ShardId, last: ShardId) -> Option<ShardId> {
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        let nearest = lines.range(wanted..=last).next().or_else(|| lines.range(first..=last).next());
        nearest.map(|(shard, _)| *shard)
    }

    /// Hands a start to the owner of its run's shard. Without one it is dropped.
    pub(crate) fn start(&self, start: LocalStart) {
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(take) = lines.get(&start.run.shard()) {
            take(start);
        }
    }

    /// Has the starts of some shards taken by `take`, until the answer is dropped.
    pub(crate) fn connect(&self, take: impl Fn(LocalStart) + Send + Sync + 'static) -> Connection {
        Connection { switchboard: self.clone(), line: Arc::new(take) }
    }
}

/// A processor's place at the switchboard. Dropping it leaves.
pub(crate) struct Connection {
    switchboard: Switchboard,
    line: Arc<Line>,
}

impl Connection {
    /// Takes these shards' starts from now on.
    pub(crate) fn serve(&self, shards: impl IntoIterator<Item = ShardId>) {
        let mut lines = self.switchboard.lines.write().unwrap_or_else(PoisonError::into_inner);
        lines.extend(shards.into_iter().map(|shard| (shard, Arc::clone(&self.line))));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut lines = self.switchboard.lines.write().unwrap_or_else(PoisonError::into_inner);
        // Another processor may have taken over some of its shards meanwhile.
        lines.retain(|_, line| !Arc::ptr_eq(line, &self.line));
    }
}

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Switchboard").field("shards", &lines.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: u16) -> ShardId {
        ShardId::new(number).unwrap()
    }

    #[test]
    fn shard_is_served_until_its_connection_is_dropped() {
        // Given two processors, the second of which takes over a shard of the first
        let switchboard = Switchboard::default();
        let nearest = |wanted| switchboard.nearest(shard(wanted), shard(2), shard(9));
        assert_eq!(nearest(5), None);
        let one = switchboard.connect(|_| {});
        one.serve([shard(1), shard(3), shard(4)]);
        let other = switchboard.connect(|_| {});
        other.serve([shard(4), shard(7)]);
        // Then a start goes to the wanted shard or the next, within the queue
        assert_eq!([2, 4, 5, 8].map(nearest), [3, 4, 7, 3].map(|number| Some(shard(number))));
        // And what the second took over stays when the first is gone
        drop(one);
        assert_eq!([2, 4, 8].map(nearest), [4, 4, 4].map(|number| Some(shard(number))));
        drop(other);
        assert_eq!(nearest(4), None);
    }
}
