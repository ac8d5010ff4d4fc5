//! The input of a driver from other threads: from the heartbeat, the executor, clients of this process, and the
//! supervisor. It must not know what a driver makes of it.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::data::id::{CommandId, LeaseId, RunId, ShardId};
use crate::data::name::Name;
use crate::processor::handover::ShardCounts;
use crate::processor::memory::Room;
use crate::store::lease::{Claimed, LeaseAnswer, LeaseHeartbeat};
use crate::store::switchboard::LocalStart;
use crate::worker::balance::Step;
use crate::worker::executor::AttemptResult;

/// One input of a driver. What is large is boxed, because the outcomes of attempts are many and inputs are moved several times.
#[derive(Debug)]
pub(crate) enum Input {
    /// A heartbeat is about to be sent: the driver replies with its part.
    HeartbeatDue { ttl: Duration, reply: oneshot::Sender<HeartbeatReply> },
    /// The answer to a heartbeat that was sent at `sent`, by the host's clock, and what the lease does about its share. The
    /// shards that are misplaced may be those of other processors of the worker.
    HeartbeatAnswered {
        asked: Box<LeaseHeartbeat>,
        answer: LeaseAnswer,
        misplaced: Vec<ShardId>,
        sent: Duration,
        step: Step,
    },
    /// Shards were claimed for this lease.
    Claimed(Claimed),
    /// An attempt ended: its ticket has the outcome. `handed` is its number among all that were handed out under the lease.
    AttemptEnded { lease: LeaseId, run: RunId, id: CommandId, attempt: u32, handed: u64 },
    /// A step ended.
    StepEnded { lease: LeaseId, run: RunId, id: CommandId, handed: u64, ended: Box<EndedStep> },
    /// A client of this process starts a run.
    Start { start: Box<LocalStart>, room: Room },
    /// Hand over, after waiting at most `grace` for running activities and steps.
    Shutdown { grace: Duration },
}

/// How a step ended.
#[derive(Debug)]
pub(crate) struct EndedStep {
    pub(crate) step: Name,
    pub(crate) result: AttemptResult,
    /// It counts the bytes of the result until that is taken in.
    pub(crate) room: Room,
}

/// A processor's part of a heartbeat.
#[derive(Debug)]
pub(crate) struct HeartbeatReply {
    pub(crate) lease_heartbeat: LeaseHeartbeat,
    pub(crate) shards: ShardCounts,
}
