//! Operations and answers in terms that are the same on both sides: leases, readers and transactions by their order,
//! messages by their ids. It must not know a store.

use pgworkflows::Timestamp;
use pgworkflows::id::{AppendNo, EventSeq, MessageId, RunId, ShardId};
use pgworkflows::store::{
    Append, ClaimedShard, Due, DueMark, EventRecord, Load, Loaded, RunDescription, RunFilter, RunPage,
    StoreError, Submission, Submitted, Suspect, Unparked, Watch, Watched,
};

/// One call of the seam, or what a test does behind a store's back.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Submit(Vec<Submission>),
    /// In a client's transaction, which is begun if there is none of that number.
    SubmitWithin {
        transaction: usize,
        submissions: Vec<Submission>,
    },
    EndTransaction {
        transaction: usize,
        commit: bool,
    },
    /// For the lease of that number, or a new one.
    Claim {
        lease: Option<usize>,
        limit: u16,
    },
    /// The time of all leases passes.
    Expire,
    Heartbeat {
        lease: usize,
        renew: bool,
        committed: AppendNo,
        deaths_max: u32,
        due_after: Option<DueMark>,
        due_until: Timestamp,
    },
    /// Lease and numbers of messages are each side's own.
    Append {
        lease: usize,
        append: Append,
    },
    /// With the cursor of the lease's reader.
    ReadInbox {
        lease: usize,
        shards: Vec<ShardId>,
        bytes: usize,
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
    Find {
        workflow: String,
        key: String,
    },
    List {
        filter: RunFilter,
        page: RunPage,
    },
    History {
        run: RunId,
        after: Option<EventSeq>,
        limit: u32,
    },
}

/// What both sides must say alike.
pub(crate) type Answer = Result<Seen, Problem>;

/// An answer without what is a store's own: times, and ids that it gives out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Done,
    Submitted(Vec<Submitted>),
    Claimed(Vec<ClaimedShard>, Vec<Suspect>),
    /// Of a lease that is held: its shards, whether there is mail, whether anything is due.
    HeartbeatAnswer {
        held: Option<(u16, bool, bool)>,
        claimable: u16,
    },
    Messages(Vec<(RunId, MessageId, bytes::Bytes)>),
    Found(Vec<RunId>),
    Histories(Loaded),
    Due(Vec<DueMark>),
    Watched(Watched),
    Runs(Vec<RunDescription>),
    FoundByKey(Option<RunId>),
    Events(Vec<EventRecord>),
}

/// An error by its kind: each store has words of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Fenced,
    Conflict,
    Unavailable,
    Corrupt,
    Misconfigured,
    LimitExceeded,
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced { .. } => Self::Fenced,
            StoreError::Conflict { .. } => Self::Conflict,
            // Both say: later.
            StoreError::Unavailable { .. } | StoreError::Held { .. } => Self::Unavailable,
            StoreError::Corrupt { .. } => Self::Corrupt,
            StoreError::Misconfigured { .. } => Self::Misconfigured,
            StoreError::LimitExceeded { .. } => Self::LimitExceeded,
        }
    }
}
