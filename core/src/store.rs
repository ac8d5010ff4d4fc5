//! The store seam: what processors and clients need of a store, in as few methods as possible.
//!
//! A store keeps bytes, ids and times. It must not know any kind of event or message: a new durable command changes no
//! store. Reads for people (lists, histories, descriptions) are another trait, [`StoreQuery`].
//!
//! The types of the seam are deliberately exhaustive: a store must handle every field, so the compiler points out new
//! ones.

pub(crate) mod append;
pub(crate) mod build;
mod diagnosis;
pub(crate) mod error;
pub(crate) mod frame;
pub(crate) mod hint;
pub(crate) mod history;
pub(crate) mod inbox;
pub(crate) mod lease;
pub(crate) mod query;
pub(crate) mod switchboard;
pub(crate) mod tasks;
pub(crate) mod watch;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;

pub use self::append::{
    Append, Appended, ChildRun, ClosedRun, ClosedStatus, Need, OpenRow, OpenState, OpenedRun, OwnedShard,
    PublishedView, Released, Reply, RunKey, RunLink, SentMessage, UpdatedRun,
};
pub use self::build::Build;
pub use self::diagnosis::{DeadLease, Finding, Verdict};
pub use self::error::StoreError;
pub use self::frame::Frame;
pub use self::hint::{Hint, HintKind, Hints};
pub use self::history::{Bodies, Due, DueMark, DueRuns, Load, Loaded, RunHistory, Unparked, UnparkedRuns};
pub use self::inbox::{
    FollowUp, InboxCursor, InboxMessage, InboxPage, InboxRead, MessageRef, NewRun, Submission, Submitted,
};
pub use self::lease::{
    Claim, Claimed, ClaimedShard, Heartbeat, HeartbeatAnswer, LeaseAnswer, LeaseHeartbeat, Release, Standing,
    Suspect, SuspectStage,
};
pub use self::query::{
    FoundView, KeyPage, KeyedRun, LeaseDescription, QueueDescription, RunDescription, RunFilter, RunPage,
    ShardNeeds, StoreQuery, Undelivered,
};
pub use self::switchboard::Switchboard;
pub use self::tasks::{
    ActivityQueueInfo, ClaimTasks, ClaimedTask, ClaimedTasks, HeldTask, NewTask, QueueHash, ReturnTasks,
    ReturnedTask, SettleTasks, Settled, TaskClaim, TaskId, Withdrawal, executor_of, queue_of,
};
pub use self::watch::{Notice, Topic, Watch, Watched, What};
pub use crate::data::chain::ChainLink;
use crate::data::id::ShardId;
use crate::data::time::Timestamp;

/// Keeps runs: their log, their inbox, and the leases that allow processors to write to them.
///
/// All clients and workers of a process share one store. Each processor has its own [`Session`], because a connection
/// belongs to the reactor that opened it.
///
/// A store is [`Any`], so that its own crate can downcast a `dyn Store` when a caller passes a transaction that only that
/// store understands.
#[async_trait]
pub trait Store: Any + fmt::Debug + Send + Sync + 'static {
    /// Opens a session for the calling thread.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Misconfigured`] if it cannot connect.
    async fn session(&self) -> Result<Box<dyn Session>, StoreError>;

    /// Checks that the store can open the sessions of a worker. A worker asks before it begins, because with too few
    /// sessions it would wait forever. By default there is no limit.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if the store can never open the sessions that are needed at least.
    async fn check_room(&self, _wanted: SessionsWanted) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the queue with this name, and creates it with `shards` shards if it does not exist. An existing queue
    /// keeps the number of shards that it was created with.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if `shards` is 0 or more than the shards that are left of 4096.
    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError>;

    /// Puts messages into the inbox, in the given order and in one transaction, and answers each of them.
    /// Accepted messages are durable when it returns.
    ///
    /// A submission that was accepted before is accepted again and changes nothing; a start is recognised by its run.
    ///
    /// # Errors
    /// [`StoreError::Held`] if another open transaction holds the key of a start and does not end soon.
    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError>;

    /// Returns the notices of those topics that have occurred so far. It does not wait for the others.
    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError>;

    /// Hints of one kind of what other sessions did. Any hint may be lost, so every listener polls as well.
    fn hints(&self, kind: HintKind) -> broadcast::Receiver<Hint>;

    /// The reads for people.
    fn query(&self) -> &dyn StoreQuery;

    /// Connects the clients and workers of a process that share this store, so that a start can bypass the inbox. By
    /// default there is none, and every start goes through the inbox.
    fn switchboard(&self) -> Option<Switchboard> {
        None
    }
}

impl dyn Store {
    /// The store as an `S`, also if it is in an [`Arc`].
    pub fn downcast<S: Store>(&self) -> Option<&S> {
        let mut store = self;
        loop {
            let any: &dyn Any = store;
            if let Some(found) = any.downcast_ref::<S>() {
                return Some(found);
            }
            if let Some(found) = any.downcast_ref::<Arc<S>>() {
                return Some(found);
            }
            store = &**any.downcast_ref::<Arc<dyn Store>>()?;
        }
    }
}

/// A shared store is a store.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        (**self).session().await
    }

    async fn check_room(&self, wanted: SessionsWanted) -> Result<(), StoreError> {
        (**self).check_room(wanted).await
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        (**self).queue(name, shards).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        (**self).submit(submissions).await
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        (**self).watch(watch).await
    }

    fn hints(&self, kind: HintKind) -> broadcast::Receiver<Hint> {
        (**self).hints(kind)
    }

    fn query(&self) -> &dyn StoreQuery {
        (**self).query()
    }

    fn switchboard(&self) -> Option<Switchboard> {
        (**self).switchboard()
    }
}

/// One caller's connection to the store. Calls are made one at a time. It can be used after an error: it reconnects if
/// it has to.
#[async_trait]
pub trait Session: Send {
    /// Claims free shards under a new lease or one that is held already.
    ///
    /// Expired leases are fenced first, which frees their shards. Shards of fenced or missing leases are free.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if `claim.lease` itself is fenced.
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError>;

    /// Sends the process's heartbeat: renews leases and looks for work, in one round trip.
    async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, StoreError>;

    /// Appends a batch to the log, exactly once however often it is sent: the append protocol.
    ///
    /// # Errors
    /// * [`StoreError::Fenced`]: the lease is no longer valid, the previous append is missing (the database lost
    ///   commits), another batch was applied under this number, or another lease owns a shard. Nothing was written; the
    ///   caller must drop all state that it built under this lease.
    /// * [`StoreError::Conflict`]: the batch contradicts what the store holds. Nothing was written.
    /// * [`StoreError::LimitExceeded`]: the store refuses this content. Nothing was written, and the number
    ///   may be used for another batch.
    /// * [`StoreError::Unavailable`] and [`StoreError::Misconfigured`]: send it again. If the error is definite, this
    ///   attempt wrote nothing; otherwise its outcome is unknown. Another batch may replace it only under the same number:
    ///   the batch that arrives second is `Fenced`.
    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError>;

    /// Reads the messages that became visible after `read.cursor`, in the order of their numbers.
    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError>;

    /// Returns the busy and stalled runs of some shards, ascending. A run with a pending row is busy if the log has an event
    /// of it. As many starts may wait in the inbox, a page may have fewer runs than the limit, or none.
    async fn unparked(&mut self, unparked: &Unparked) -> Result<UnparkedRuns, StoreError>;

    /// Reads as many histories as fit the byte limit.
    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError>;

    /// Returns parked runs with a deadline after `due.after` and up to `due.until`, ascending by `(wake_at, run)`.
    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError>;

    /// Fences the lease and frees its shards at once, without counting a death. Does nothing if the lease is fenced or
    /// missing, except that a run at fault gets its strike, once per lease, as long as the store remembers the lease.
    async fn release(&mut self, release: &Release) -> Result<(), StoreError>;

    /// Renews an executor's lease, or creates one, and claims tasks under it: those of an activity queue that were ready
    /// first. Tasks of runs that are over are deleted instead.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if the executor's lease was fenced: all of its tasks are free again, or over.
    async fn claim_tasks(&mut self, claim: &ClaimTasks) -> Result<ClaimedTasks, StoreError>;

    /// Deletes tasks, and puts the messages which tell their runs how they ended into the inbox, in one transaction. Answers
    /// for each what became of it. A run that is over gets no message.
    async fn settle_tasks(&mut self, settle: &SettleTasks) -> Result<Vec<Settled>, StoreError>;

    /// Gives tasks back that the executor has, and ends the executor if asked to. Does nothing for an executor that was
    /// fenced. A task that somebody has locked is left; if its executor ends, it is lost once it is not locked any more.
    async fn return_tasks(&mut self, returned: &ReturnTasks) -> Result<(), StoreError>;

    /// Deletes tasks whose outcome is not awaited any more, whoever has them, and tells their runs if asked to, in one
    /// transaction. Returns those that somebody has locked, and that are still there. An executor that has one learns that
    /// it is gone from its next renewal.
    async fn withdraw_tasks(&mut self, withdrawals: &[Withdrawal]) -> Result<Vec<TaskId>, StoreError>;
}

/// How many sessions a worker will have open at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionsWanted {
    /// The worker cannot work with fewer.
    pub least: usize,
    /// The worker opens no more, except for threads that replace those stuck in workflows which never yield.
    pub most: usize,
}

/// A named group of workers and the contiguous range of shards that they serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The name with which workers and clients are configured.
    pub name: String,
    /// The queue's first shard.
    pub first_shard: ShardId,
    /// How many shards the queue has, 1 to 4096.
    pub shard_count: u16,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

impl Queue {
    /// Checks that the queue has as many shards as its caller asked for, if it did.
    pub(crate) fn check_shards(&self, wanted: Option<u16>) -> Result<(), StoreError> {
        let Self { name, shard_count: there, .. } = self;
        match wanted.filter(|wanted| wanted != there) {
            None => Ok(()),
            Some(wanted) => Err(StoreError::misconfigured(format!(
                "queue `{name}` has {there} shards, and {wanted} were asked for: a queue keeps the number that it was created \
                 with, so set `queue_shards` to {there}, leave it out, or use another queue"
            ))),
        }
    }
}
