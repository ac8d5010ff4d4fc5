//! Durable workflows as plain `async` Rust on the PostgreSQL you already run: the engine.
//!
//! You write a [`Workflow`], deterministic code that uses a [`Context`], and an [`Activity`] for everything that has a
//! side effect. A [`Worker`] executes both; a [`Client`] starts runs, signals them and awaits their results. A store
//! keeps the runs: `pgworkflows-postgres`, or `pgworkflows-memory` for tests.
//!
//! The names that nearly every program uses are at the root; everything else is in a module by theme. A file with
//! workflows, activities or clients begins with `use pgworkflows::prelude::*`.
//!
//! To change the library, read it in the order in which data flows: `client` submits a message, `processor` takes it in,
//! `run` turns it into events, `worker::driver` appends them to the [`store`], and `worker::executor` executes the
//! activities that they schedule.

#[cfg(feature = "__bench")]
pub mod bench;
pub mod client;
mod data;
pub mod error;
mod guard;
pub mod history;
pub mod host;
mod log;
mod observe;
mod processor;
mod run;
pub mod store;
#[cfg(test)]
mod testing;
pub mod worker;
pub mod workflow;

// Crates whose types are in public signatures.
pub use {bytes, chrono, serde, serde_json, uuid};

pub use self::client::Client;
pub use self::client::handle::RunHandle;
pub use self::data::id::RunId;
pub use self::data::recipient::Recipient;
pub use self::data::time::Timestamp;
pub use self::error::Error;
pub use self::worker::Worker;
pub use self::workflow::Workflow;
pub use self::workflow::activity::Activity;
pub use self::workflow::context::Context;
pub use self::workflow::signal::{NamedSignal, Signal};
pub use self::workflow::update::Update;
pub use self::workflow::view::View;

/// Activities: code with side effects, when it is retried, and how it fails.
pub mod activity {
    pub use crate::data::cancellation::Cancellation;
    pub use crate::data::options::ActivityOptions;
    pub use crate::data::positional::Arguments;
    pub use crate::data::retry::RetryPolicy;
    pub use crate::workflow::activity::{Activity, ActivityContext};
    pub use crate::workflow::activity_def::{ActivityDef, ActivityFailure};
    pub use crate::workflow::activity_fn::{Activities, ActivityFn};
    pub use crate::workflow::error::{ActivityError, ActivityResult};
    pub use crate::workflow::own_task::OwnTask;
}

/// Ids, counters and names, each with its own type.
pub mod id {
    pub use crate::data::id::{
        AppendNo, ClaimId, CommandId, EventSeq, ExecutorId, InboxNo, InvalidId, LeaseId, MessageId, Position,
        RunId, ShardId,
    };
    pub use crate::data::id_map::IdMap;
    pub use crate::data::name::Name;
    pub use crate::data::optional_key::OptionalKey;
}

/// Inputs, results and the contents of signals, as bytes that a store keeps.
pub mod payload {
    pub use crate::data::payload::{Encoding, Payload, PayloadError};
    pub use crate::data::positional::Positional;
}

/// Distributed traces through runs: where one begins, and how a tracing library takes part.
pub mod trace {
    // Its span is in a signature.
    pub use tracing;

    pub use crate::data::trace_context::TraceContext;
    pub use crate::observe::propagator::TracePropagator;
}

/// The names that most files need: bring them in with `use pgworkflows::prelude::*`.
pub mod prelude {
    pub use std::time::Duration;

    pub use async_trait::async_trait;
    pub use serde::{Deserialize, Serialize};

    pub use crate::activity::{
        Activity, ActivityContext, ActivityError, ActivityOptions, ActivityResult, RetryPolicy,
    };
    pub use crate::client::Client;
    pub use crate::worker::Worker;
    pub use crate::workflow::{
        CallError, Context, Durable, OrFail, Shared, Signal, Update, View, Workflow, WorkflowError,
        WorkflowResult,
    };
}
