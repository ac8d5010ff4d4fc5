//! What really happened in a store, whatever its callers were told: for whoever watches from outside. It must not
//! know why anybody asks.

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{LeaseId, ShardId};
use pgworkflows_core::store::{Append, MessageRef, Submission};

/// Something that happened, once and at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A message became visible in the inbox: a client submitted it, or an append sent it.
    Submitted {
        /// Where it is.
        at: MessageRef,
        /// What it is.
        submission: Submission,
    },
    /// A batch was written. A repetition that finds it written is no fact.
    Appended(Append),
    /// Shards got an owner.
    Claimed {
        /// The new owner.
        lease: LeaseId,
        /// The shards that were free until now.
        shards: Vec<ShardId>,
    },
    /// A lease was made, renewed or claimed with.
    Renewed {
        /// The lease.
        lease: LeaseId,
        /// Until when nobody may fence it.
        until: Timestamp,
    },
    /// A lease is over: its shards are free, and nothing is written under it any more.
    Ended {
        /// The lease.
        lease: LeaseId,
        /// Whether its holder asked for it; else it was fenced.
        released: bool,
    },
    /// The store went back to an older state.
    Restored,
}

/// Facts that nobody has taken yet; none are kept for nobody.
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
