//! Operations and answers in terms that are the same on both stores: leases, readers and transactions by their order,
//! executors by their order as well, messages by their ids. It must not know any store.

use bytes::Bytes;
use pgworkflows::Timestamp;
use pgworkflows::id::{AppendNo, MessageId, Name, RunId, ShardId};
use pgworkflows::store::{
    ActivityQueueInfo, Append, Build, ClaimedShard, Due, DueMark, FoundView, KeyPage, KeyedRun, Load, Loaded,
    ReturnedTask, RunDescription, RunFilter, RunPage, Settled, Standing, StoreError, Submission, Submitted,
    Suspect, TaskClaim, TaskId, Unparked, UnparkedRuns, Watch, Watched, Withdrawal,
};

/// One call of a store, or an action beside the store.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Submit(Vec<Submission>),
    /// In a transaction of a client, which begins if there is none of that number.
    SubmitWithin {
        transaction: usize,
        submissions: Vec<Submission>,
    },
    EndTransaction {
        transaction: usize,
        commit: bool,
    },
    /// For the lease of that number, or for a new lease.
    Claim {
        lease: Option<usize>,
        build: Build,
        limit: u16,
    },
    /// Lets all leases expire.
    Expire,
    Heartbeat {
        lease: usize,
        renew: bool,
        committed: AppendNo,
        deaths_max: u32,
        due_after: Option<DueMark>,
        due_until: Timestamp,
    },
    /// The lease, the numbers of messages, and the executors of tasks are replaced by those of each store.
    Append {
        lease: usize,
        append: Box<Append>,
    },
    /// With the cursor of that lease.
    ReadInbox {
        lease: usize,
        shards: Vec<ShardId>,
        bytes: usize,
        /// Whether the order of the messages is compared: not of those that tell of tasks.
        in_order: bool,
    },
    Unparked(Unparked),
    Load(Load),
    DueRuns(Due),
    Release {
        lease: usize,
        at_fault: Option<RunId>,
    },
    Watch(Watch),
    Describe(RunId),
    View {
        run: RunId,
        view: &'static str,
    },
    QueuesOf(String),
    Find {
        workflow: String,
        key: String,
    },
    KeyedRuns(KeyPage),
    List {
        filter: RunFilter,
        page: RunPage,
    },
    /// As people read histories.
    Query(Load),
    /// For the executor of that number, or for a new one.
    ClaimTasks {
        executor: Option<usize>,
        renew: bool,
        /// Whether more renewals were acknowledged than the store knows of.
        ahead: bool,
        queues: Vec<(Name, u32)>,
        activities: Vec<Name>,
        bytes: usize,
    },
    SettleTasks {
        executor: usize,
        outcomes: Vec<(TaskClaim, Bytes)>,
    },
    ReturnTasks {
        executor: usize,
        tasks: Vec<ReturnedTask>,
        ends: bool,
    },
    WithdrawTasks(Vec<Withdrawal>),
    ActivityQueues,
}

/// What both stores must say alike.
pub(crate) type Answer = Result<Reply, ErrorKind>;

/// A reply without what each store assigns: times and ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Done,
    Submitted(Vec<Submitted>),
    Claimed(Vec<ClaimedShard>, Vec<Suspect>),
    /// For a held lease: how many shards it has, what it may own, whether there are messages, whether anything is due. And
    /// which of its shards are misplaced.
    HeartbeatAnswer {
        held: Option<(u16, Standing, bool, bool)>,
        misplaced: Vec<ShardId>,
    },
    Queues(Vec<String>),
    Messages(Vec<(RunId, MessageId, Bytes)>),
    Unparked(UnparkedRuns),
    Histories(Loaded),
    Due(Vec<DueMark>),
    Watched(Watched),
    Runs(Vec<RunDescription>),
    View(Option<FoundView>),
    FoundByKey(Option<RunId>),
    Keyed(Vec<KeyedRun>),
    Tasks {
        tasks: Vec<(TaskClaim, Name, Bytes)>,
        held: Option<Vec<TaskClaim>>,
        more: bool,
    },
    Settled(Vec<Settled>),
    Locked(Vec<TaskId>),
    ActivityQueues(Vec<ActivityQueueInfo>),
}

/// The kind of an error. Its text depends on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Fenced,
    Conflict,
    Unavailable,
    Corrupt,
    Misconfigured,
    LimitExceeded,
}

impl From<StoreError> for ErrorKind {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced { .. } => Self::Fenced,
            StoreError::Conflict { .. } => Self::Conflict,
            // Both mean: retry later.
            StoreError::Unavailable { .. } | StoreError::Held { .. } => Self::Unavailable,
            StoreError::Corrupt { .. } => Self::Corrupt,
            StoreError::Misconfigured { .. } => Self::Misconfigured,
            StoreError::LimitExceeded { .. } => Self::LimitExceeded,
        }
    }
}
