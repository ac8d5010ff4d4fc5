//! Fault points: where a test or a simulator may disturb a call. Nothing here draws a random number except
//! [`SeededFaults`], which draws the same ones for the same seed.
//!
//! Every call passes three points, one after the other:
//!
//! | stage | what it stands for | `Lose` means |
//! |---|---|---|
//! | [`Stage::Request`] | the request on its way to the store | nothing happened |
//! | [`Stage::Commit`] | the transaction is about to commit | nothing happened; a number that was taken is lost |
//! | [`Stage::Acknowledgement`] | the answer on its way back | it happened |
//!
//! Whatever was lost, the caller sees the same: `Unavailable`.

mod bytes;
mod seeded;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{EventSeq, RunId};
use pgworkflows_core::store::{
    Append, Claim, Due, Hint, InboxRead, Load, Release, RunFilter, RunPage, StoreError, Submission, Tick,
    Unparked, Watch,
};

pub(crate) use self::bytes::Carries;
pub use self::seeded::{FaultCounts, FaultWeights, SeededFaults};
use crate::fact::Fact;

/// Asked at every fault point of every call.
pub trait Faults: fmt::Debug + Send + Sync + 'static {
    /// What is to happen at this point.
    fn at(&self, point: &FaultPoint<'_>) -> Fault;

    /// How often this hint is delivered: 0 loses it, 2 repeats it.
    fn hint(&self, _hint: Hint) -> u32 {
        1
    }

    /// Whether a request that is delayed on its way arrives although its caller is gone, when
    /// [`MemoryStore::deliver_lingering`](crate::MemoryStore::deliver_lingering) says so. Asked when the caller is gone.
    fn outlives_caller(&self, _point: &FaultPoint<'_>) -> bool {
        false
    }

    /// Whether a request that has just taken effect arrives once more, when
    /// [`MemoryStore::deliver_lingering`](crate::MemoryStore::deliver_lingering) says so: a late duplicate, whose answer
    /// reaches nobody.
    fn arrives_again(&self, _point: &FaultPoint<'_>) -> bool {
        false
    }

    /// Told of everything that happens in the store, in order: what a checker believes in. It must not call the
    /// store.
    fn happened(&self, _fact: &Fact, _now: Timestamp) {}
}

/// A point that a call has reached.
#[derive(Clone, Copy, Debug)]
pub struct FaultPoint<'a> {
    /// The session that makes the call; `None` for a call of the store itself.
    pub session: Option<SessionNo>,
    /// The call with its arguments.
    pub call: Call<'a>,
    /// How far it has come.
    pub stage: Stage,
    /// How many bytes of messages and events are under way at this stage: none at the commit.
    pub bytes: usize,
}

/// A session's number, in the order in which sessions were opened, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNo(pub u64);

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// On its way to the store.
    Request,
    /// About to commit. What a submission inserts has its number already, and nobody sees it.
    Commit,
    /// On its way back.
    Acknowledgement,
}

/// A call of the seam, with what it asks.
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "each is named after its method of the seam and holds that method's arguments"
)]
pub enum Call<'a> {
    Session,
    Queue { name: &'a str, shards: u16 },
    Submit(&'a [Submission]),
    Watch(&'a Watch),
    Claim(&'a Claim),
    Tick(&'a Tick),
    Append(&'a Append),
    ReadInbox(&'a InboxRead),
    Unparked(&'a Unparked),
    Load(&'a Load),
    DueRuns(&'a Due),
    Release(&'a Release),
    Describe(RunId),
    Find { workflow: &'a str, key: &'a str },
    List { filter: &'a RunFilter, page: &'a RunPage },
    History { run: RunId, after: Option<EventSeq>, limit: u32 },
}

impl Call<'_> {
    /// Whether it may change what the store holds.
    pub fn has_effect(&self) -> bool {
        match self {
            Self::Queue { .. }
            | Self::Submit(_)
            | Self::Claim(_)
            | Self::Tick(_)
            | Self::Append(_)
            | Self::Release(_) => true,
            Self::Session
            | Self::Watch(_)
            | Self::ReadInbox(_)
            | Self::Unparked(_)
            | Self::Load(_)
            | Self::DueRuns(_)
            | Self::Describe(_)
            | Self::Find { .. }
            | Self::List { .. }
            | Self::History { .. } => false,
        }
    }
}

/// What is to happen at a fault point.
pub enum Fault {
    /// Nothing out of the ordinary.
    Proceed,
    /// The call is lost here: the caller gets `Unavailable`.
    Lose,
    /// The call waits here until the future is done, and then proceeds.
    Delay(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The request is delivered twice: the second delivery takes effect as well, its answer is dropped. An
    /// acknowledgement that is repeated is like one that is not.
    Repeat,
    /// The caller gets `Unavailable`, but the request is still under way: it takes effect when
    /// [`MemoryStore::deliver_lingering`](crate::MemoryStore::deliver_lingering) says so. At a later stage than
    /// the request, or of a call that only reads, the same as [`Fault::Lose`].
    Linger,
    /// The store refuses with this error. Before the acknowledgement, nothing happened.
    Refuse(StoreError),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proceed => f.write_str("Proceed"),
            Self::Lose => f.write_str("Lose"),
            Self::Delay(_) => f.write_str("Delay"),
            Self::Repeat => f.write_str("Repeat"),
            Self::Linger => f.write_str("Linger"),
            Self::Refuse(error) => f.debug_tuple("Refuse").field(error).finish(),
        }
    }
}
