//! Durable workflows as plain `async` Rust on the PostgreSQL you already run: the engine.
//!
//! You write a [`Workflow`], deterministic code over a [`Context`], and [`Activity`]s for everything that has a
//! side effect. A [`Worker`] executes both; a [`Client`] starts runs, signals them and awaits their results. Where
//! runs are kept is a store's business: `pgworkflows-postgres`, or `pgworkflows-memory` for tests.
//!
//! Whoever changes the library reads on in the order in which data flows: `client` submits a message, `processor`
//! takes it in, `run` turns it into events, `worker::driver` appends them to the [`store`], and `worker::executor`
//! executes what they ask for.

#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "canaries")]
pub mod canary;
#[cfg(not(feature = "canaries"))]
mod canary;
mod client;
mod data;
mod error;
mod guard;
mod history;
mod host;
mod log;
mod processor;
mod run;
pub mod store;
#[cfg(test)]
mod testing;
mod worker;
mod workflow;

pub use self::client::handle::{AwaitResult, RunHandle};
pub use self::client::info::{HistoryEvent, RunInfo, RunStatus, UndeliveredMessage};
pub use self::client::list::ListRuns;
pub use self::client::message::{CancelRun, SendSignal, TerminateRun};
pub use self::client::request::{Prepared, Request};
pub use self::client::start::StartRun;
pub use self::client::{Client, ClientBuilder};
pub use self::data::cancellation::Cancellation;
pub use self::data::divergence::Divergence;
pub use self::data::failure::Failure;
pub use self::data::id::{
    AppendNo, CommandId, EventSeq, InboxNo, InvalidId, LeaseId, MessageId, Position, RunId, ShardId,
};
pub use self::data::limits;
pub use self::data::name::{EventName, Name};
pub use self::data::options::ActivityOptions;
pub use self::data::outcome::{Outcome, Uncompensated};
pub use self::data::payload::{Encoding, Payload, PayloadError};
pub use self::data::retry::RetryPolicy;
pub use self::data::time::Timestamp;
pub use self::error::Error;
pub use self::history::History;
pub use self::history::replay::{Replayed, replay};
pub use self::host::{AttemptFuture, AttemptOf, CpuMeter, Host, SystemHost, ThreadFuture};
pub use self::log::event::Event;
pub use self::log::message_kind::MessageKind;
pub use self::worker::Worker;
pub use self::worker::builder::WorkerBuilder;
pub use self::worker::health::{Health, HealthReason};
pub use self::worker::monitor::WorkerMonitor;
pub use self::worker::status::WorkerHealth;
pub use self::workflow::Workflow;
pub use self::workflow::activity::{Activity, ActivityContext};
pub use self::workflow::calls::activity::ActivityFuture;
pub use self::workflow::calls::compensation::Compensation;
pub use self::workflow::calls::signal::SignalFuture;
pub use self::workflow::calls::step::StepFuture;
pub use self::workflow::calls::timeout::{Durable, Timeout};
pub use self::workflow::calls::timer::TimerFuture;
pub use self::workflow::calls::when_all::{Branches, Items, Tuple, WhenAll};
pub use self::workflow::context::Context;
pub use self::workflow::error::{ActivityError, ActivityResult, OrFail, WorkflowError, WorkflowResult};
pub use self::workflow::signal::Signal;

/// What a file with workflows and activities needs.
pub mod prelude {
    pub use std::time::Duration;

    pub use async_trait::async_trait;
    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        Activity, ActivityContext, ActivityError, ActivityOptions, ActivityResult, Client, Context, Durable,
        OrFail, RetryPolicy, Signal, Workflow, WorkflowError, WorkflowResult,
    };
}
