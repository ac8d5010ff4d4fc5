//! Who may write: claims and heartbeats. It must not know what is written.

use std::time::Duration;

use super::{DueMark, InboxCursor};
use crate::id::{AppendNo, LeaseId, Position, ShardId};
use crate::time::Timestamp;

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
