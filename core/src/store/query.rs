//! What people read from a store: descriptions, lists and histories. Processors must not read through it.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::data::attributes::Attributes;
use crate::data::chain::ChainLink;
use crate::data::id::{EventSeq, LeaseId, RunId, ShardId};
use crate::data::name::Name;
use crate::data::time::Timestamp;
use crate::store::Queue;
use crate::store::append::{ClosedRun, OpenRow};
use crate::store::build::Build;
use crate::store::error::StoreError;
use crate::store::frame::Frame;
use crate::store::history::{Load, Loaded};
use crate::store::tasks::ActivityQueueInfo;

/// The reads for people.
#[async_trait]
pub trait StoreQuery: fmt::Debug + Send + Sync {
    /// Describes one run; `None` if it does not exist.
    async fn describe(&self, run: RunId) -> Result<Option<RunDescription>, StoreError>;

    /// Describes a queue and its live leases; `None` if the queue does not exist.
    async fn describe_queue(&self, name: &str) -> Result<Option<QueueDescription>, StoreError>;

    /// Returns all queues, ascending by name. It creates none.
    async fn queues(&self) -> Result<Vec<Queue>, StoreError>;

    /// Names the queues whose live leases know a workflow, ascending. If there is none, it names the queue of the last lease
    /// that knew it, as long as the store remembers one.
    async fn queues_of(&self, workflow: &str) -> Result<Vec<String>, StoreError>;

    /// Finds the run of a workflow that was started under a key.
    async fn find(&self, workflow: &str, key: &str) -> Result<Option<RunId>, StoreError>;

    /// Lists the runs of a workflow that were started with keys, in the order of the keys' bytes.
    async fn keyed_runs(&self, page: &KeyPage) -> Result<Vec<KeyedRun>, StoreError>;

    /// How far a list of `page.limit` open runs and as many that are over would go, of all runs before `page.before`, were they
    /// all of the filter's workflow and state: the newer one of the last open run and the last one that is over. `None` if it
    /// would have all of them. A list that goes no further looks at no more runs than that. With attributes, only runs with the
    /// first of them count, open or over: the answer is the last of `page.limit` such runs.
    async fn horizon(&self, filter: &RunFilter, page: &RunPage) -> Result<Option<RunId>, StoreError>;

    /// Lists runs, the newest first.
    async fn list(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<RunDescription>, StoreError>;

    /// Reads histories, as [`Session::load`](super::Session::load) does.
    async fn load(&self, load: &Load) -> Result<Loaded, StoreError>;

    /// Finds the newest value of a view of a run; `None` if there is none. The cost does not depend on how long the history is.
    async fn view(&self, run: RunId, view: &str) -> Result<Option<FoundView>, StoreError>;

    /// Describes the activity queues that have tasks, ascending by queue and activity.
    async fn activity_queues(&self) -> Result<Vec<ActivityQueueInfo>, StoreError>;
}

/// A run as a store describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDescription {
    /// The run.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: String,
    /// The idempotency key of the run's start.
    pub key: Option<String>,
    /// The run that started it, if a run did.
    pub parent: Option<RunId>,
    /// The run's row while it is open.
    pub open: Option<OpenRow>,
    /// How the run ended. Exactly one of `open` and `closed` is `Some`.
    pub closed: Option<ClosedRun>,
    /// What the run is found by.
    pub attributes: Attributes,
    /// The run's place in its chain, if it continues another run.
    pub link: Option<ChainLink>,
    /// The current run of its chain, if the run was continued.
    pub current: Option<RunId>,
    /// Messages that arrived after the run's end, and signals that it sent to nobody: the oldest
    /// [`SHOWN_MAX`](Undelivered::SHOWN_MAX), the oldest first.
    pub undelivered: Vec<Undelivered>,
}

/// The newest value of a view, in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundView {
    /// The number of the event with the value.
    pub seq: EventSeq,
    /// The frame with that event.
    pub frame: Frame,
}

/// A queue as a store describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDescription {
    /// The queue's name.
    pub name: String,
    /// How many shards it has.
    pub shard_count: u16,
    /// Its live leases, the oldest first.
    pub leases: Vec<LeaseDescription>,
    /// The shards that need workflows, ascending.
    pub needs: Vec<ShardNeeds>,
}

/// The workflows that a shard [needs](super::Need).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardNeeds {
    /// The shard.
    pub shard: ShardId,
    /// The names of the workflows, ascending.
    pub workflows: Vec<Name>,
}

/// A live lease as a store describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseDescription {
    /// The lease.
    pub lease: LeaseId,
    /// The worker's name.
    pub worker: String,
    /// The worker's build.
    pub build: Build,
    /// The shards that it owns, ascending.
    pub shards: Vec<ShardId>,
    /// How many runs its processor had in memory at the last heartbeat.
    pub live_runs: u32,
    /// When it was claimed or renewed last.
    pub renewed_at: Timestamp,
}

/// A message that was accepted, but whose run was over when it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// The message's content, which only core reads.
    pub body: Bytes,
    /// When the message was moved out of the inbox.
    pub at: Timestamp,
}

impl Undelivered {
    /// How many of a run a description shows: runs may send each other any number of signals in vain.
    pub const SHOWN_MAX: usize = 100;
}

/// Selects the runs that match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Runs of this workflow.
    pub workflow: Option<String>,
    /// Runs that this run started. They are found by an index, however many runs there are.
    pub parent: Option<RunId>,
    /// Runs that have all of these attributes. They are found by an index of the first one: a page by one attribute and nothing
    /// else looks at no other runs.
    pub attributes: Attributes,
    /// Open runs (`true`) or runs that are over (`false`).
    pub open: Option<bool>,
    /// Open runs in this state.
    pub state: Option<super::OpenState>,
    /// Runs that ended this way.
    pub status: Option<super::ClosedStatus>,
    /// This run and newer ones.
    pub since: Option<RunId>,
}

impl RunFilter {
    /// Whether open runs are selected: a status selects those that are over.
    pub fn selects_open(&self) -> bool {
        self.open != Some(false) && self.status.is_none()
    }

    /// Whether runs that are over are selected: a state selects open ones.
    pub fn selects_closed(&self) -> bool {
        self.open != Some(true) && self.state.is_none()
    }
}

/// Selects a page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPage {
    /// Only runs older than this one, the last of the previous page.
    pub before: Option<RunId>,
    /// How many runs to return at most, at least 1.
    pub limit: u32,
}

/// Selects a page of the runs of a workflow that were started with keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// The workflow's name.
    pub workflow: Name,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys after this one, the last of the previous page.
    pub after: Option<String>,
    /// How many runs to return at most, at least 1.
    pub limit: u32,
}

/// A run that was started with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRun {
    /// The key.
    pub key: String,
    /// The run.
    pub run: RunId,
    /// Whether it is open.
    pub is_open: bool,
}
