//! What reaches a driver from other threads: from the heartbeat, the executor, clients of this process, and whoever stops
//! the worker. It must not know what a driver makes of it.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::data::id::{CommandId, LeaseId, RunId};
use crate::data::name::Name;
use crate::store::lease::{Claimed, LeaseTick, LeaseTicked};
use crate::store::switchboard::LocalStart;
use crate::worker::executor::{AttemptResult, Attempted};

/// What reaches a driver from other threads.
#[derive(Debug)]
pub(crate) enum Input {
    /// A heartbeat is about to be sent: say what it has to ask for this lease.
    Tick { ttl: Duration, reply: oneshot::Sender<TickReply> },
    /// The heartbeat's answer. It was sent at `sent`, by the host's clock.
    Ticked { asked: LeaseTick, answer: LeaseTicked, sent: Duration },
    /// Shards were claimed for this lease.
    Claimed(Claimed),
    /// The executor is done with an attempt.
    AttemptEnded { lease: LeaseId, run: RunId, id: CommandId, attempt: u32, attempted: Attempted },
    /// The executor is done with a step.
    StepEnded { lease: LeaseId, run: RunId, id: CommandId, step: Name, result: AttemptResult },
    /// A client of this process starts a run.
    Start(LocalStart),
    /// Hand over: wait for running activities for at most `grace`.
    Shutdown { grace: Duration },
}

/// A processor's part of a heartbeat.
#[derive(Debug)]
pub(crate) struct TickReply {
    pub(crate) tick: LeaseTick,
    /// The shards that it serves.
    pub(crate) shards: usize,
}
