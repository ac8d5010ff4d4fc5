//! The store seam: what a processor and a client need of a store, as few methods as do it.
//!
//! A store keeps bytes, ids and times. It must not know a kind of event or message: a new durable command
//! touches no store. What people need (lists, histories, counts) is another trait, [`StoreQuery`].

mod error;
mod query;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::broadcast;

pub use self::error::StoreError;
pub use self::query::{RunDescription, RunFilter, RunPage, StoreQuery, Undelivered};
use crate::event::EventName;
use crate::id::{AppendNo, EventSeq, InboxNo, LeaseId, MessageId, Position, RunId, ShardId};
use crate::time::Timestamp;

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

    /// The queue of that name; created with `shards` shards where there is none. An existing queue keeps the
    /// number of shards that it was created with.
    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError>;

    /// Puts messages into the inbox, in the order given and in one transaction, and answers for each.
    /// When it returns, what was accepted is durable.
    ///
    /// A submission that was accepted before, by its run for a start, is accepted again and changes nothing.
    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError>;

    /// Those of `runs` that are over.
    async fn closed(&self, runs: &[RunId]) -> Result<Vec<ClosedRun>, StoreError>;

    /// Hints of what other sessions did. Every hint may be lost: whoever listens polls as well.
    fn hints(&self) -> broadcast::Receiver<Hint>;

    /// The reads for people.
    fn query(&self) -> &dyn StoreQuery;
}

/// A shared store is a store.
#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        (**self).session().await
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        (**self).queue(name, shards).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        (**self).submit(submissions).await
    }

    async fn closed(&self, runs: &[RunId]) -> Result<Vec<ClosedRun>, StoreError> {
        (**self).closed(runs).await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        (**self).hints()
    }

    fn query(&self) -> &dyn StoreQuery {
        (**self).query()
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
    /// * [`StoreError::Unavailable`] and [`StoreError::Misconfigured`]: the outcome is unknown; send the identical
    ///   append again.
    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError>;

    /// Reads the messages that became visible since `read.cursor`, in the order of their numbers.
    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError>;

    /// Reads whole histories, ascending by run.
    async fn load(&mut self, load: &Load) -> Result<Vec<RunHistory>, StoreError>;

    /// Parked runs with a deadline behind `due.after`, up to `due.until`, ascending by `(wake_at, run)`.
    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError>;

    /// Fences the lease and frees its shards at once: the end of a graceful shutdown. Does nothing if the
    /// lease is fenced or missing.
    async fn release(&mut self, lease: LeaseId) -> Result<(), StoreError>;
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

/// A message on its way into the inbox and, for a start, the run that it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The message's id, the same however often it is sent.
    pub message: MessageId,
    /// The run that it is for.
    pub run: RunId,
    /// What it says, for core alone to read.
    pub body: Bytes,
    /// For a start: the run that exists from now on.
    pub opens: Option<NewRun>,
}

/// A run that a start opens: everybody can see it as soon as the start is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// The workflow's name.
    pub workflow: String,
    /// The start's idempotency key, unique per workflow name.
    pub key: Option<String>,
    /// SHA-256 of the canonical input; `None` from a caller that cannot compute it, then none is compared.
    pub input_digest: Option<[u8; 32]>,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is in the inbox, or was accepted before.
    Accepted,
    /// A run with this key, and as far as is known with this input, exists: nothing was written.
    Existing(RunId),
    /// A run with this key but another input exists: nothing was written.
    KeyConflict(RunId),
    /// The run is over: nothing was written.
    RunOver,
    /// There is no such run: nothing was written.
    UnknownRun,
}

/// Asks for free shards of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The queue's name.
    pub queue: String,
    /// The lease that the shards are to belong to; `None` makes a new one.
    pub lease: Option<LeaseId>,
    /// The worker's name, for people.
    pub worker: String,
    /// How long the lease is valid after each renewal.
    pub ttl: Duration,
    /// How many shards the lease may own in the end, those that it owns already included.
    pub limit: u16,
}

/// The answer to a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The lease.
    pub lease: LeaseId,
    /// All shards that the lease owns now, ascending; none is an answer like any other. Those that it owned
    /// before are among them, because the answer of the claim that took them may have been lost: a caller that
    /// serves a shard already passes over it.
    pub shards: Vec<ClaimedShard>,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

/// A shard with its new owner's starting point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimedShard {
    /// The shard.
    pub shard: ShardId,
    /// The position that its next event gets.
    pub next_position: Position,
    /// How many owners in a row ended without a release.
    pub deaths: u32,
}

/// One heartbeat of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The queue's name.
    pub queue: String,
    /// What to do for each lease of the process.
    pub leases: Vec<LeaseTick>,
}

/// One lease's part in a [`Tick`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTick {
    /// The lease.
    pub lease: LeaseId,
    /// Whether to renew it, and for how long: `None` if its processor makes no progress.
    pub renew: Option<Duration>,
    /// The last of its appends that was acknowledged, 0 if there is none. A store that knows of none so late has
    /// lost commits, and does not hold the lease: a processor that is idle must learn of that as well, since what
    /// comes to the inbox then may have numbers that it has read before.
    pub committed: AppendNo,
    /// How far its processor has read the inbox.
    pub cursor: InboxCursor,
    /// Up to which deadline its processor has loaded parked runs.
    pub due_after: Option<DueMark>,
    /// Up to which deadline it wants to know of any.
    pub due_until: Timestamp,
}

/// The answer to a [`Tick`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticked {
    /// The store's clock when it answered.
    pub now: Timestamp,
    /// One answer for each lease, in the order asked.
    pub leases: Vec<LeaseTicked>,
    /// How many of the queue's shards could be claimed now.
    pub claimable: u16,
}

/// What the tick found for one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTicked {
    /// The lease.
    pub lease: LeaseId,
    /// Whether it is still valid. One that is not was fenced, or the store lost commits: its processor must throw
    /// its memory away.
    pub held: bool,
    /// How many shards it owns. If that is more than its processor serves, the answer of a claim was lost.
    pub shards: u16,
    /// Whether its shards have messages beyond the cursor.
    pub mail: bool,
    /// Whether its shards have parked runs that are due in the window asked for.
    pub due: bool,
}

/// A batch for the log: what one commit writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The lease that it is written under.
    pub lease: LeaseId,
    /// Its number: one more than that of the append before.
    pub number: AppendNo,
    /// SHA-256 of all that follows: tells a repetition from another batch under the same number.
    pub digest: [u8; 32],
    /// The events, those of one run in the order of their `seq`, those of one shard in that of `position`.
    pub events: Vec<NewEvent>,
    /// Runs that begin with this append, without a message, and are not over within it.
    pub opened: Vec<OpenedRun>,
    /// Open runs whose row changes.
    pub updated: Vec<UpdatedRun>,
    /// Runs that are over.
    pub closed: Vec<ClosedRun>,
    /// Messages that these events took in: deleted from the inbox. One that is not there is a conflict.
    pub consumed: Vec<MessageRef>,
    /// Messages whose run was over before they came: moved from the inbox to `undelivered`.
    pub undelivered: Vec<MessageRef>,
}

impl Append {
    /// The digest of the content. Whoever makes an append sets [`Append::digest`] to it, once and last.
    pub fn content_digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        // Each list and each text is preceded by its length: what ends one must not be able to begin the next.
        hasher.update((self.events.len() as u64).to_le_bytes());
        for event in &self.events {
            hasher.update(event.run.as_u128().to_le_bytes());
            hasher.update(event.seq.get().to_le_bytes());
            hasher.update(event.position.get().to_le_bytes());
            hasher.update(event.at.as_micros().to_le_bytes());
            hasher.update((event.name.as_str().len() as u64).to_le_bytes());
            hasher.update(event.name.as_str());
            hasher.update((event.body.len() as u64).to_le_bytes());
            hasher.update(&event.body);
        }
        // The rows follow from the events; what is left is which runs and which messages are touched.
        let mut runs = |runs: &mut dyn ExactSizeIterator<Item = RunId>| {
            hasher.update((runs.len() as u64).to_le_bytes());
            for run in runs {
                hasher.update(run.as_u128().to_le_bytes());
            }
        };
        runs(&mut self.opened.iter().map(|opened| opened.run));
        runs(&mut self.updated.iter().map(|updated| updated.run));
        runs(&mut self.closed.iter().map(|closed| closed.run));
        for messages in [&self.consumed, &self.undelivered] {
            hasher.update((messages.len() as u64).to_le_bytes());
            for message in messages {
                hasher.update(message.number.get().to_le_bytes());
                hasher.update(message.message.as_u128().to_le_bytes());
            }
        }
        hasher.finalize().into()
    }
}

/// One event on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its run; the shard is the run's.
    pub run: RunId,
    /// Its number within the run.
    pub seq: EventSeq,
    /// Its number within the shard.
    pub position: Position,
    /// Its stored name.
    pub name: EventName,
    /// When it happened.
    pub at: Timestamp,
    /// What it says, for core alone to read.
    pub body: Bytes,
}

/// A run's row when it begins without a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedRun {
    /// The run.
    pub run: RunId,
    /// Its workflow's name.
    pub workflow: String,
    /// Its row's changing part.
    pub row: OpenRow,
}

/// A change of an open run's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdatedRun {
    /// The run.
    pub run: RunId,
    /// Its row's changing part from now on.
    pub row: OpenRow,
}

/// The changing part of an open run's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenRow {
    /// Whether a new owner must load the run at once.
    pub state: OpenState,
    /// A parked run's earliest deadline.
    pub wake_at: Option<Timestamp>,
    /// What the run waits on, for people.
    pub waiting_on: Option<String>,
}

/// What an open run is doing, as far as its row says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OpenState {
    /// Its start is in the inbox; the log knows nothing of it.
    Pending,
    /// Something is in flight: a new owner loads it at once.
    #[default]
    Busy,
    /// Nothing is in flight: it waits for a message or its deadline.
    Parked,
    /// Its code could not go on: a new owner tries it again at once.
    Stalled,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedRun {
    /// The run.
    pub run: RunId,
    /// Its workflow's name.
    pub workflow: String,
    /// Its start's key.
    pub key: Option<String>,
    /// How it ended.
    pub status: ClosedStatus,
    /// When it ended.
    pub closed_at: Timestamp,
    /// Its outcome, for core alone to read.
    pub outcome: Bytes,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedStatus {
    /// Its workflow returned a value.
    Completed,
    /// Its workflow returned an error.
    Failed,
    /// It was cancelled, and its workflow had nothing against it.
    Cancelled,
    /// It was terminated: its workflow was not asked.
    Terminated,
}

/// Names a message in the inbox. Its place alone would not do: a database that lost commits gives the same
/// number to another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageRef {
    /// The shard of its run.
    pub shard: ShardId,
    /// Its number.
    pub number: InboxNo,
    /// Its id.
    pub message: MessageId,
}

/// The answer to an [`Append`] that was applied, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The store's clock when it answered.
    pub now: Timestamp,
}

/// Asks for the messages of some shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRead {
    /// The shards.
    pub shards: Vec<ShardId>,
    /// How far the caller has read them: these very shards. Whoever gets another one begins anew.
    pub cursor: InboxCursor,
    /// How many messages to return at most, at least 1.
    pub limit: u32,
}

/// How far somebody has read the inbox: a store's own writing, which only that store reads. The default is
/// the beginning.
///
/// It speaks of the shards that it was read with: a caller that reads others as well begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxCursor(pub Bytes);

/// Some messages, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxPage {
    /// The messages, in the order of their numbers.
    pub messages: Vec<InboxMessage>,
    /// Where to go on reading.
    pub cursor: InboxCursor,
    /// Whether to read on at once: there are more messages, or there may be.
    pub more: bool,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

/// A message in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMessage {
    /// Its number; with the run's shard, what names it in the inbox.
    pub number: InboxNo,
    /// Its run.
    pub run: RunId,
    /// Its id.
    pub message: MessageId,
    /// What it says.
    pub body: Bytes,
}

/// Asks for histories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// Of these runs, over or not. One of which the store holds nothing is left out.
    Runs(Vec<RunId>),
    /// Of the busy and stalled runs of these shards behind `after`, `limit` of them at most.
    Unparked {
        /// The shards.
        shards: Vec<ShardId>,
        /// The last run of the page before.
        after: Option<RunId>,
        /// How many runs to return at most, at least 1.
        limit: u32,
    },
}

/// All that the log says of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHistory {
    /// The run.
    pub run: RunId,
    /// Its events, by `seq`. None for a run whose start has not been logged.
    pub events: Vec<EventRecord>,
}

/// One event as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Its number within the run.
    pub seq: EventSeq,
    /// Its number within the shard.
    pub position: Position,
    /// Its stored name.
    pub name: EventName,
    /// When it happened.
    pub at: Timestamp,
    /// What it says.
    pub body: Bytes,
}

/// A point in the order of deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueMark {
    /// The deadline.
    pub wake_at: Timestamp,
    /// The run.
    pub run: RunId,
}

/// Asks for parked runs by their deadlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The shards.
    pub shards: Vec<ShardId>,
    /// Only deadlines behind this one.
    pub after: Option<DueMark>,
    /// Only deadlines up to this one.
    pub until: Timestamp,
    /// How many runs to return at most, at least 1.
    pub limit: u32,
}

/// Parked runs by their deadlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRuns {
    /// The runs, ascending.
    pub runs: Vec<DueMark>,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

/// Something that may be worth a look. Losing every hint costs at most a poll interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// The shard has a new message.
    Mail(ShardId),
    /// A run of the shard is over.
    Closed(ShardId),
    /// Shards were freed.
    Released,
    /// Hints may have been lost: look at everything.
    Missed,
}
