//! Leases: claims, heartbeats and releases. It must not know what is written under them.

use std::time::Duration;

use crate::data::id::{AppendNo, ClaimId, LeaseId, Position, RunId, ShardId};
use crate::data::name::Name;
use crate::data::time::Timestamp;
use crate::store::build::Build;
use crate::store::history::DueMark;
use crate::store::inbox::InboxCursor;

/// Asks for free shards of a queue.
///
/// A lease gets a shard only if its build knows the shard's [needs](ClaimedShard::needs), as far as any live lease of the
/// queue knows them; where no live lease knows all of these, any lease gets it. A lease that is
/// [outdated](Standing::outdated) gets none. If a live lease released the shard in an append, and could own it, then it goes
/// only to a lease whose build [succeeds](Build::succeeds) the build of that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The queue's name.
    pub queue: String,
    /// The lease that is to own the shards; `None` creates a new one.
    pub lease: Option<LeaseId>,
    /// The worker's name, for people.
    pub worker: String,
    /// The worker's build, which is stored with a new lease: the same one in all claims for the lease.
    pub build: Build,
    /// How long the lease is valid after each renewal.
    pub ttl: Duration,
    /// How many shards the lease may own, including those that it owns already. A new lease gets no more than the mean of the
    /// queue's live leases, rounded up, so that it does not take what others are about to claim.
    pub limit: u16,
}

/// The answer to a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The lease.
    pub lease: LeaseId,
    /// All shards that the lease owns now, ascending; the list may be empty. It includes the shards that the lease owned
    /// before, because the answer to an earlier claim may have been lost. The caller skips those that it serves already.
    pub shards: Vec<ClaimedShard>,
    /// The runs of these shards that are under suspicion, ascending by run.
    pub suspects: Vec<Suspect>,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

/// A claimed shard, and where its new owner continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedShard {
    /// The shard.
    pub shard: ShardId,
    /// The claim that took it.
    pub claim: ClaimId,
    /// The position of its next event.
    pub next_position: Position,
    /// How many of its owners died, less those that later owners paid off: see [`LeaseHeartbeat::deaths_max`].
    pub deaths: u32,
    /// The worker that lost the shard because its lease expired; `None` if the shard was free.
    pub former: Option<String>,
    /// The workflows of which the shard has or had open runs, ascending: see [`Need`](super::Need). Those that the lease's
    /// build does not know have an open run.
    pub needs: Vec<Name>,
}

/// A run that may be the reason why processes die. The mark is durable: it is written before the run is executed, so that
/// the next owner finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The run.
    pub run: RunId,
    /// The stage of its trial.
    pub stage: SuspectStage,
    /// How often this run alone was found to be at fault.
    pub strikes: u32,
}

/// The stage of a suspect's trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SuspectStage {
    /// The run is executed, and is suspected of nothing; if its owner dies, the run was active. A release changes nothing.
    Marked,
    /// The run is not executed until its turn.
    Held,
    /// The run is executed in its trial; if its owner dies, the run was active. A release, which is not a death, makes the run
    /// held again, and removes its strikes unless the run is at fault.
    Tried,
    /// The run was found to be at fault and is not executed any more.
    SetAside,
}

/// Gives up a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The lease.
    pub lease: LeaseId,
    /// The run that cost the processor its lease, if one did: it gets a strike, and becomes a suspect if it is not one.
    pub at_fault: Option<RunId>,
}

/// One heartbeat of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The queue's name.
    pub queue: String,
    /// The heartbeats of the process's leases.
    pub leases: Vec<LeaseHeartbeat>,
}

/// One lease's part of a [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHeartbeat {
    /// The lease.
    pub lease: LeaseId,
    /// How long to renew the lease; `None` does not renew it, because its processor makes no progress.
    pub renew: Option<Duration>,
    /// The last acknowledged append, 0 if there is none. A store whose last append is older has lost commits, and answers
    /// that the lease is not held. An idle processor must learn that as well, because new messages in the inbox may have
    /// numbers that it has already read.
    pub committed: AppendNo,
    /// Limits the deaths that the lease's shards count from now on, because their owner has served long enough to pay off
    /// the others. Nothing else removes a death, not even a release.
    pub deaths_max: u32,
    /// How far the processor has read the inbox.
    pub cursor: InboxCursor,
    /// The deadline up to which the processor has loaded parked runs.
    pub due_after: Option<DueMark>,
    /// The deadline up to which the processor asks for due runs.
    pub due_until: Timestamp,
    /// How many runs the processor has in memory, for people.
    pub live_runs: u32,
}

/// The answer to a [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// The store's clock when it answered.
    pub now: Timestamp,
    /// One answer for each lease, in the order of the request.
    pub leases: Vec<LeaseAnswer>,
    /// The shards of these leases that belong to another live lease, because their own does not know all of their needs and
    /// the other does, as far as any live lease knows them; ascending. They are to be released.
    pub misplaced: Vec<ShardId>,
    /// How long it takes until the first live lease of the queue that is not in the request expires; `None` if there is no
    /// other.
    pub next_expiry: Option<Duration>,
}

/// The answer to a heartbeat for one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// The lease.
    pub lease: LeaseId,
    /// Whether the lease is still valid. If not, it was fenced or the store lost commits, and the processor must drop
    /// its state.
    pub held: bool,
    /// How many shards the lease owns. If the processor serves fewer, the answer to a claim was lost.
    pub shards: u16,
    /// What it may own, among the live leases of its queue.
    pub standing: Standing,
    /// Whether the lease's shards have messages after the cursor.
    pub mail: bool,
    /// Whether the lease's shards have parked runs between `due_after` and `due_until`.
    pub due: bool,
}

/// What a lease may own, among the live leases of its queue: those that are neither fenced nor expired. All is 0 if it is
/// not live itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many live leases are of a build that [succeeds](Build::succeeds) its own, with itself. They share their shards,
    /// because no shard goes to a lease of another build.
    pub members: u32,
    /// How many of these come before it where the shards cannot be divided evenly: the first leases get one more than the
    /// others. First come those that own more than the mean, rounded down, and among equals the older.
    pub place: u32,
    /// How many shards these own, with all free shards of the queue.
    pub shared: u16,
    /// How many free shards of the queue it can claim now.
    pub claimable: u16,
    /// Whether a live lease is of a build that [outdates](Build::outdates) its own. Then it claims no shards.
    pub outdated: bool,
}
