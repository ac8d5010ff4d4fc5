//! Fault points: where a test or a simulator may disturb a call. This file must not know the store's state.
//!
//! Every call passes three points in order:
//!
//! | stage | what it models | `Lose` means |
//! |---|---|---|
//! | [`Stage::Request`] | the request on its way to the store | nothing happened |
//! | [`Stage::Commit`] | the transaction is about to commit | nothing happened; a message number that was taken is not used |
//! | [`Stage::Acknowledgement`] | the answer on its way back | it happened |
//!
//! In all three cases the caller gets `Unavailable`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use pgworkflows_core::RunId;
use pgworkflows_core::Timestamp;
use pgworkflows_core::store::{
    Append, Claim, ClaimTasks, Due, Heartbeat, Hint, InboxRead, KeyPage, Load, Release, ReturnTasks,
    RunFilter, RunPage, SettleTasks, StoreError, Submission, Unparked, Watch, Withdrawal,
};

use crate::fact::Fact;

/// Decides what happens at each fault point of each call.
pub trait Faults: fmt::Debug + Send + Sync + 'static {
    /// The fault at this point.
    fn at(&self, point: &FaultPoint<'_>) -> Fault;

    /// How many times this hint is delivered: 0 loses it, 2 repeats it.
    fn hint(&self, _hint: Hint) -> u32 {
        1
    }

    /// Whether a delayed request stays in flight after its caller dropped the call.
    /// [`MemoryStore::deliver_lingering`](crate::MemoryStore::deliver_lingering) delivers it. Asked when the call is
    /// dropped.
    fn outlives_caller(&self, _point: &FaultPoint<'_>) -> bool {
        false
    }

    /// Whether a late duplicate of a request that has just taken effect is in flight.
    /// [`MemoryStore::deliver_lingering`](crate::MemoryStore::deliver_lingering) delivers it, and its answer is
    /// dropped.
    fn arrives_again(&self, _point: &FaultPoint<'_>) -> bool {
        false
    }

    /// Called with every fact of the store, in order, for checkers. It must not call the store.
    fn happened(&self, _fact: &Fact, _now: Timestamp) {}
}

/// A point that a call has reached.
#[derive(Clone, Copy, Debug)]
pub struct FaultPoint<'a> {
    /// The session that makes the call; `None` for a call on the store itself.
    pub session: Option<SessionNo>,
    /// The call with its arguments.
    pub call: Call<'a>,
    /// The stage of the call.
    pub stage: Stage,
    /// How many bytes of messages and events are in flight at this stage: none at the commit.
    pub bytes: usize,
}

/// A session's number: 1 for the first session that was opened, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNo(pub u64);

/// A stage of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// On its way to the store.
    Request,
    /// About to commit. A submitted message has its number already, but is not visible yet.
    Commit,
    /// On its way back.
    Acknowledgement,
}

/// A call of the seam, with its arguments.
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "each is named after its method of the seam and holds that method's arguments"
)]
pub enum Call<'a> {
    Session,
    Queue {
        name: &'a str,
        shards: u16,
    },
    Submit(&'a [Submission]),
    Watch(&'a Watch),
    Claim(&'a Claim),
    Heartbeat(&'a Heartbeat),
    Append(&'a Append),
    ReadInbox(&'a InboxRead),
    Unparked(&'a Unparked),
    Load(&'a Load),
    DueRuns(&'a Due),
    Release(&'a Release),
    ClaimTasks(&'a ClaimTasks),
    SettleTasks(&'a SettleTasks),
    ReturnTasks(&'a ReturnTasks),
    WithdrawTasks(&'a [Withdrawal]),
    ActivityQueues,
    Queues,
    Describe(RunId),
    DescribeQueue(&'a str),
    QueuesOf(&'a str),
    Find {
        workflow: &'a str,
        key: &'a str,
    },
    /// See [`StoreQuery::keyed_runs`](pgworkflows_core::store::StoreQuery::keyed_runs).
    KeyedRuns(&'a KeyPage),
    List {
        filter: &'a RunFilter,
        page: &'a RunPage,
    },
    History(&'a Load),
    View {
        run: RunId,
        view: &'a str,
    },
}

impl Call<'_> {
    /// Whether it may change what the store holds.
    pub fn has_effect(&self) -> bool {
        match self {
            Self::Queue { .. }
            | Self::Submit(_)
            | Self::Claim(_)
            | Self::Heartbeat(_)
            | Self::Append(_)
            | Self::Release(_)
            | Self::ClaimTasks(_)
            | Self::SettleTasks(_)
            | Self::ReturnTasks(_)
            | Self::WithdrawTasks(_) => true,
            Self::Session
            | Self::Watch(_)
            | Self::ReadInbox(_)
            | Self::Unparked(_)
            | Self::Load(_)
            | Self::DueRuns(_)
            | Self::Describe(_)
            | Self::DescribeQueue(_)
            | Self::Queues
            | Self::QueuesOf(_)
            | Self::Find { .. }
            | Self::KeyedRuns(_)
            | Self::List { .. }
            | Self::History(_)
            | Self::View { .. }
            | Self::ActivityQueues => false,
        }
    }
}

/// What happens at a fault point.
pub enum Fault {
    /// The call continues.
    Proceed,
    /// The call is lost here: the caller gets `Unavailable`.
    Lose,
    /// The call waits here until the future completes, and then proceeds.
    Delay(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The request is delivered twice. Both deliveries take effect, and the second answer is dropped. At a later stage,
    /// the same as [`Fault::Proceed`].
    Repeat,
    /// The caller gets `Unavailable`, but the request is still in flight. It takes effect when
    /// [`MemoryStore::deliver_lingering`](crate::MemoryStore::deliver_lingering) delivers it. At a later stage, or for
    /// a call that only reads, the same as [`Fault::Lose`].
    Linger,
    /// The store refuses with this error. Nothing happened, unless the stage is the acknowledgement.
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
