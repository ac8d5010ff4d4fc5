//! Who may write: claims and heartbeats. It must not know what is written.

use std::time::Duration;

use crate::data::id::{AppendNo, LeaseId, Position, RunId, ShardId};
use crate::data::time::Timestamp;
use crate::store::history::DueMark;
use crate::store::inbox::InboxCursor;

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
    /// The runs of these shards that are under suspicion, ascending by run.
    pub suspects: Vec<Suspect>,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

/// A shard with its new owner's starting point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedShard {
    /// The shard.
    pub shard: ShardId,
    /// The position that its next event gets.
    pub next_position: Position,
    /// How many owners died, less what later ones paid off: see [`LeaseTick::deaths_max`].
    pub deaths: u32,
    /// The worker that it was taken over from because its lease had run out; `None` if it was free.
    pub former: Option<String>,
}

/// A run that may be what ends the processes that work on it. The mark is durable: it is written before the run is
/// worked on, and the next owner finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The run.
    pub run: RunId,
    /// Where it stands.
    pub stage: SuspectStage,
    /// How often it alone was found to be at fault.
    pub strikes: u32,
}

/// Where a suspect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SuspectStage {
    /// Nothing of it is done until its turn comes.
    Held,
    /// It is being worked on: if its owner dies, it was under way. A release, which is no death, makes it held again, and
    /// takes its strikes away unless it is at fault.
    Tried,
    /// It was found to be at fault: nothing of it is done any more.
    SetAside,
}

/// Gives a lease up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The lease.
    pub lease: LeaseId,
    /// The run that cost its processor the lease, if one did: it gets a strike, being made a suspect if it is none.
    pub at_fault: Option<RunId>,
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
    /// No shard of the lease counts more deaths than this from now on: its owner has served long enough to pay off the
    /// others. Nothing else takes a death away, a release least of all.
    pub deaths_max: u32,
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
