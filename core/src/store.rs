//! The store seam: what a processor and a client need of a store, as few methods as do it.
//!
//! A store keeps bytes, ids and times. It must not know a kind of event or message: a new durable command
//! touches no store. What people need (lists, histories, counts) is another trait, [`StoreQuery`].
//!
//! The types of the seam are exhaustive on purpose: a store has to look at every field that it is given, so the compiler
//! must tell it of a new one.

pub(crate) mod append;
pub(crate) mod error;
pub(crate) mod history;
pub(crate) mod inbox;
pub(crate) mod lease;
pub(crate) mod query;
pub(crate) mod switchboard;
pub(crate) mod watch;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;

pub use self::append::{
    Append, Appended, ClosedRun, ClosedStatus, NewEvent, OpenRow, OpenState, OpenedRun, SentMessage,
    UpdatedRun,
};
pub use self::error::StoreError;
pub use self::history::{Bodies, Due, DueMark, DueRuns, EventRecord, Load, Loaded, RunHistory, Unparked};
pub use self::inbox::{
    InboxCursor, InboxMessage, InboxPage, InboxRead, MessageRef, NewRun, Submission, Submitted,
};
pub use self::lease::{
    Claim, Claimed, ClaimedShard, LeaseTick, LeaseTicked, Release, Suspect, SuspectStage, Tick, Ticked,
};
pub use self::query::{RunDescription, RunFilter, RunPage, StoreQuery, Undelivered};
pub use self::switchboard::Switchboard;
pub use self::watch::{Notice, Topic, Watch, Watched, What};
use crate::data::id::{RunId, ShardId};
use crate::data::time::Timestamp;

/// A place that keeps runs: their log, their inbox, and who may write to them.
///
/// A store is shared by all clients and workers of a process. What one processor does again and again goes
/// through a [`Session`] of its own, because a connection belongs to the reactor that opened it.
///
/// A store is [`Any`], so that its own crate can know it again behind `dyn Store`, where a caller hands in a
/// transaction that only that store understands.
#[async_trait]
pub trait Store: Any + fmt::Debug + Send + Sync + 'static {
    /// Opens a session for the calling thread.
    async fn session(&self) -> Result<Box<dyn Session>, StoreError>;

    /// Whether the store has room for a worker's sessions, which is asked before it begins: with too few it would wait
    /// for ever, and its runs with it. A store without a limit has.
    ///
    /// [`StoreError::Misconfigured`] if it can never have the least that are needed.
    async fn check_room(&self, _wanted: SessionsWanted) -> Result<(), StoreError> {
        Ok(())
    }

    /// The queue of that name; created with `shards` shards where there is none. An existing queue keeps the
    /// number of shards that it was created with.
    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError>;

    /// Puts messages into the inbox, in the order given and in one transaction, and answers for each.
    /// When it returns, what was accepted is durable.
    ///
    /// A submission that was accepted before, by its run for a start, is accepted again and changes nothing.
    ///
    /// [`StoreError::Held`] if an open transaction holds the key of a start and does not end soon.
    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError>;

    /// Which of the topics have come about so far. It does not wait for the others.
    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError>;

    /// Hints of what other sessions did. Every hint may be lost: whoever listens polls as well.
    fn hints(&self) -> broadcast::Receiver<Hint>;

    /// The reads for people.
    fn query(&self) -> &dyn StoreQuery;

    /// Where clients and workers that share this store within a process meet: a start then takes the short way,
    /// past the inbox. A store that keeps none works without.
    fn switchboard(&self) -> Option<Switchboard> {
        None
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

    fn hints(&self) -> broadcast::Receiver<Hint> {
        (**self).hints()
    }

    fn query(&self) -> &dyn StoreQuery {
        (**self).query()
    }

    fn switchboard(&self) -> Option<Switchboard> {
        (**self).switchboard()
    }
}

/// One caller's line to the store. Its calls are made one at a time; after an error it is still usable,
/// reconnecting where it has to.
#[async_trait]
pub trait Session: Send {
    /// Claims free shards under a new lease or one that is held already.
    ///
    /// Leases whose time has passed are fenced first, and their shards are free; so are shards of fenced or
    /// missing leases. Refused with [`StoreError::Fenced`] if `claim.lease` itself is fenced.
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError>;

    /// The process's heartbeat, in one round trip: renews leases and looks for work.
    async fn tick(&mut self, tick: &Tick) -> Result<Ticked, StoreError>;

    /// Appends a batch to the log, exactly once however often it is sent: the append protocol.
    ///
    /// * [`StoreError::Fenced`]: the lease is no longer valid, the append of the number before is missing
    ///   (the database lost commits), another batch was applied under this number, or a shard belongs to
    ///   somebody else. Nothing was written; all memory built on this lease must be thrown away.
    /// * [`StoreError::Conflict`]: the batch contradicts what the store holds. Nothing was written.
    /// * [`StoreError::LimitExceeded`]: the store refuses this content. Nothing was written, and the number
    ///   may be used for another batch.
    /// * [`StoreError::Unavailable`] and [`StoreError::Misconfigured`]: send it again. If the error is definite, this
    ///   try wrote nothing; else its outcome is unknown. Another batch may take its place only under the same number:
    ///   then whichever comes first makes the other `Fenced`.
    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError>;

    /// Reads the messages that became visible since `read.cursor`, in the order of their numbers.
    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError>;

    /// The busy and stalled runs of some shards, ascending.
    async fn unparked(&mut self, unparked: &Unparked) -> Result<Vec<RunId>, StoreError>;

    /// Reads histories, as many as fit the limit of bytes.
    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError>;

    /// Parked runs with a deadline after `due.after`, up to `due.until`, ascending by `(wake_at, run)`.
    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError>;

    /// Fences the lease and frees its shards at once: no death is counted. Does nothing if the lease is fenced or
    /// missing, except that a run at fault gets its strike, once per lease, as long as the store remembers the lease.
    async fn release(&mut self, release: &Release) -> Result<(), StoreError>;
}

/// How many sessions somebody will have open at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionsWanted {
    /// Without these, nothing works.
    pub least: usize,
    /// More than these are not opened, but for those of threads that are left behind in workflows which never yield.
    pub most: usize,
}

/// A named group of workers and the contiguous range of shards that they serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name: what workers and clients are configured with.
    pub name: String,
    /// The first of its shards.
    pub first_shard: ShardId,
    /// How many shards it has, from the first on.
    pub shard_count: u16,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

/// Something that may be worth a look. Losing every hint costs at most a poll interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// The shard has a new message.
    Mail(ShardId),
    /// Something that clients may wait for came about for a run of the shard: there is a [`Notice`].
    Notice(ShardId),
    /// Shards were freed.
    Released,
    /// Hints may have been lost: look at everything.
    Missed,
}
