//! Local starts: a client hands a start directly to a processor in the same process that owns the run's shard, without
//! the inbox. It must not know what a processor does with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::oneshot;

use crate::data::attributes::Attributes;
use crate::data::id::{RunId, ShardId};
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;
use crate::store::watch::Notice;

/// Connects the clients and the workers of a process that share a store. The store creates it with `default` and returns
/// it from [`Store::switchboard`](super::Store::switchboard). Clones are handles to the same switchboard.
#[derive(Clone, Default)]
pub struct Switchboard {
    receivers: Arc<RwLock<BTreeMap<ShardId, Arc<Receiver>>>>,
}

/// Receives the starts for one processor. Returns false if it does not take one.
type Receiver = dyn Fn(LocalStart) -> bool + Send + Sync;

/// A start for a processor of this process. Dropping it refuses the start.
#[derive(Debug)]
pub(crate) struct LocalStart {
    pub(crate) run: RunId,
    pub(crate) workflow: Name,
    pub(crate) input: Payload,
    pub(crate) start_at: Option<Timestamp>,
    pub(crate) retry: RetryPolicy,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) grace_until: Option<Timestamp>,
    /// The place in a trace at which it is started.
    pub(crate) trace: Option<Box<TraceContext>>,
    pub(crate) attributes: Attributes,
    /// Notified when the run is in the log. A client that no longer waits has submitted the start to the inbox.
    pub(crate) accepted: oneshot::Sender<()>,
    /// Receives the run's end, if it ends while it is in this process's memory.
    pub(crate) closed: oneshot::Sender<Notice>,
}

impl Switchboard {
    /// A shard between `first` and `last` that a processor of this process owns: `wanted`, or the next one, cyclically.
    pub(crate) fn nearest(&self, wanted: ShardId, first: ShardId, last: ShardId) -> Option<ShardId> {
        let receivers = self.receivers.read().unwrap_or_else(PoisonError::into_inner);
        // Mostly this process owns all shards, and a look-up is cheaper than a range.
        if receivers.contains_key(&wanted) {
            return Some(wanted);
        }
        let nearest = receivers.range(wanted..=last).next().or_else(|| receivers.range(first..=last).next());
        nearest.map(|(shard, _)| *shard)
    }

    /// Hands a start to the owner of its run's shard. Returns false if no processor of this process is the owner, or the owner
    /// does not take it: then the run does not begin by this start.
    pub(crate) fn start(&self, start: LocalStart) -> bool {
        let receivers = self.receivers.read().unwrap_or_else(PoisonError::into_inner);
        receivers.get(&start.run.shard()).is_some_and(|receive| receive(start))
    }

    /// Connects a processor, which serves no shard yet.
    pub(crate) fn connect(&self, receive: impl Fn(LocalStart) -> bool + Send + Sync + 'static) -> Connection {
        Connection { switchboard: self.clone(), receiver: Arc::new(receive) }
    }
}

/// A processor's connection to the switchboard. Dropping it disconnects the processor.
pub(crate) struct Connection {
    switchboard: Switchboard,
    receiver: Arc<Receiver>,
}

impl Connection {
    /// Receives the starts of these shards from now on.
    pub(crate) fn serve(&self, shards: impl IntoIterator<Item = ShardId>) {
        let mut receivers = self.switchboard.receivers.write().unwrap_or_else(PoisonError::into_inner);
        receivers.retain(|_, receiver| !Arc::ptr_eq(receiver, &self.receiver));
        receivers.extend(shards.into_iter().map(|shard| (shard, Arc::clone(&self.receiver))));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut receivers = self.switchboard.receivers.write().unwrap_or_else(PoisonError::into_inner);
        // Another processor may have taken over some of its shards in the meantime.
        receivers.retain(|_, receiver| !Arc::ptr_eq(receiver, &self.receiver));
    }
}

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let receivers = self.receivers.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Switchboard").field("shards", &receivers.len()).finish()
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
        let one = switchboard.connect(|_| true);
        one.serve([shard(1), shard(3), shard(4)]);
        let other = switchboard.connect(|_| true);
        other.serve([shard(4), shard(7)]);
        // Then a start goes to the wanted shard or the next one, within the queue
        assert_eq!([2, 4, 5, 8].map(nearest), [3, 4, 7, 3].map(|number| Some(shard(number))));
        // And the second keeps its shards after the first has disconnected
        drop(one);
        assert_eq!([2, 4, 8].map(nearest), [4, 4, 4].map(|number| Some(shard(number))));
        drop(other);
        assert_eq!(nearest(4), None);
    }
}
