//! Facts: what really happened in a store, whatever its callers were told. Checkers read them. This file must not know
//! what a checker wants.

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{ExecutorId, LeaseId, ShardId};
use pgworkflows_core::store::{Append, Build, MessageRef, Submission, TaskClaim, TaskId};

/// Something that happened, atomically and once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A message became visible in the inbox: a client submitted it, or an append sent it.
    Submitted {
        /// Where it is.
        at: MessageRef,
        /// What it is.
        submission: Submission,
    },
    /// A batch was written. A repetition of a written batch is no fact.
    Appended(Append),
    /// A lease was made.
    Leased {
        /// The lease.
        lease: LeaseId,
        /// The build of its worker.
        build: Build,
    },
    /// Shards got an owner.
    Claimed {
        /// The new owner.
        lease: LeaseId,
        /// The shards, which were free before.
        shards: Vec<ShardId>,
    },
    /// A lease was made, was renewed, or made a claim.
    Renewed {
        /// The lease.
        lease: LeaseId,
        /// The time before which it cannot be fenced.
        until: Timestamp,
    },
    /// A lease is over: its shards are free, and nothing is written under it any more.
    Ended {
        /// The lease.
        lease: LeaseId,
        /// Whether its holder released it; otherwise it was fenced.
        released: bool,
    },
    /// An executor's lease was made or renewed.
    ExecutorRenewed {
        /// The executor.
        executor: ExecutorId,
        /// The time before which it cannot be fenced.
        until: Timestamp,
    },
    /// An executor is over: it has no tasks any more.
    ExecutorEnded {
        /// The executor.
        executor: ExecutorId,
        /// Whether it ended by itself; otherwise it was fenced.
        by_itself: bool,
    },
    /// An executor got a task, which was free.
    TaskClaimed {
        /// The task, and the number of the claim.
        claim: TaskClaim,
        /// The executor.
        executor: ExecutorId,
    },
    /// An executor has a task no longer, and it is free again.
    TaskFreed {
        /// The task.
        task: TaskId,
        /// Whether the executor was lost; otherwise it gave the task back.
        lost: bool,
    },
    /// A task is over: settled, lost for good, or withdrawn. A message to its run is a fact of its own.
    TaskDeleted {
        /// The task.
        task: TaskId,
        /// The executor that settled it, if one did.
        settled_by: Option<ExecutorId>,
    },
    /// The store was restored to an older state.
    Restored,
}

/// Facts that have not been taken yet. None are kept unless the store is watched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) watched: bool,
    kept: Vec<Fact>,
}

impl Facts {
    pub(crate) fn push(&mut self, fact: impl FnOnce() -> Fact) {
        if self.watched {
            self.kept.push(fact());
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.kept)
    }
}
