//! Durable workflows as plain `async` Rust on the PostgreSQL you already run: the engine.
//!
//! You write a [`Workflow`], deterministic code over a [`Context`], and [`Activity`]s for everything that has a
//! side effect. A [`Worker`] executes both; a [`Client`] starts runs, signals them and awaits their results. Where
//! runs are kept is a store's business: `pgworkflows-postgres`, or `pgworkflows-memory` for tests.
//!
//! Whoever changes the library reads on in the order in which data flows: `client` submits a message, `processor`
//! takes it in, `run` turns it into events, `worker::driver` appends them to the [`store`], and `worker::executor`
//! executes what they ask for.

mod activity;
#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "canaries")]
pub mod canary;
#[cfg(not(feature = "canaries"))]
mod canary;
mod cancellation;
mod client;
mod command;
mod context;
mod error;
mod event;
mod failure;
mod guard;
mod handle;
mod history;
mod host;
mod id;
pub mod limits;
mod message;
mod outcome;
mod payload;
mod processor;
mod random;
mod registry;
mod replay;
mod retry;
mod run;
mod signal;
pub mod store;
#[cfg(test)]
mod testing;
mod time;
mod worker;
mod workflow;

pub use self::activity::{Activity, ActivityContext, ActivityError, ActivityOptions, ActivityResult};
pub use self::cancellation::Cancellation;
pub use self::client::{
    CancelRun, Client, ClientBuilder, HistoryEvent, ListRuns, Prepared, Request, RunInfo, RunStatus,
    SendSignal, StartRun, TerminateRun, UndeliveredMessage,
};
pub use self::command::{
    ActivityFuture, Branches, Compensation, Durable, Items, SignalFuture, StepFuture, Timeout, TimerFuture,
    Tuple, WhenAll,
};
pub use self::context::Context;
pub use self::error::Error;
pub use self::event::{Event, EventName, Name, Outcome, Uncompensated};
pub use self::failure::{Failure, OrFail};
pub use self::handle::{AwaitResult, RunHandle};
pub use self::history::History;
pub use self::host::{AttemptFuture, AttemptOf, CpuMeter, Host, SystemHost, ThreadFuture};
pub use self::id::{AppendNo, CommandId, EventSeq, InboxNo, LeaseId, MessageId, Position, RunId, ShardId};
pub use self::message::MessageKind;
pub use self::payload::{Encoding, Payload, PayloadError};
pub use self::replay::{Replayed, replay};
pub use self::retry::RetryPolicy;
pub use self::run::Divergence;
pub use self::signal::Signal;
pub use self::time::Timestamp;
pub use self::worker::{Health, HealthReason, Worker, WorkerBuilder, WorkerHealth, WorkerMonitor};
pub use self::workflow::{Workflow, WorkflowError, WorkflowResult};

/// What a file with workflows and activities needs.
pub mod prelude {
    pub use std::time::Duration;

    pub use async_trait::async_trait;
    pub use serde::{Deserialize, Serialize};

    pub use crate::activity::{Activity, ActivityContext, ActivityError, ActivityOptions, ActivityResult};
    pub use crate::client::Client;
    pub use crate::command::Durable;
    pub use crate::context::Context;
    pub use crate::failure::OrFail;
    pub use crate::retry::RetryPolicy;
    pub use crate::signal::Signal;
    pub use crate::workflow::{Workflow, WorkflowError, WorkflowResult};
}
