//! The workflow's side: what users implement, and what their code calls.

pub(crate) mod activity;
pub(crate) mod async_program;
pub(crate) mod bare;
pub(crate) mod calls;
pub(crate) mod command;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod fault;
pub(crate) mod locals;
pub(crate) mod mark;
pub(crate) mod program;
pub(crate) mod registry;
pub(crate) mod scope;
pub(crate) mod signal;

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::calls::activity::ActivityFuture;
pub use self::calls::compensation::Compensation;
pub use self::calls::future::DurableFuture;
pub use self::calls::record::RecordFuture;
pub use self::calls::signal::SignalFuture;
pub use self::calls::step::StepFuture;
pub use self::calls::timeout::{Durable, Timeout};
pub use self::calls::timer::TimerFuture;
pub use self::calls::when_all::{Branches, Items, Tuple, WhenAll};
pub use self::context::Context;
pub use self::error::{OrFail, WorkflowError, WorkflowResult};
pub use self::signal::Signal;

/// Deterministic code that survives its process: a plain `async fn`, replayed from the log after a crash.
///
/// Given the same resolutions in the same order, it must make the same durable calls in the same order. So it
/// takes the time, random numbers and ids from its [`Context`], and puts everything else that could differ
/// into activities and steps. It need not be `Send`.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// pub struct Reminder;
///
/// impl Workflow for Reminder {
///     const NAME: &'static str = "reminder";
///     type Input = String;
///     type Output = String;
///
///     async fn run(ctx: Context, name: String) -> WorkflowResult<String> {
///         ctx.sleep(Duration::from_secs(11 * 24 * 3600)).await?;
///         Ok(format!("It is time, {name}."))
///     }
/// }
/// ```
pub trait Workflow: 'static {
    /// The stored name, unique among a worker's workflows. Runs that are open refer to it: never change it.
    const NAME: &'static str;
    /// What it is started with, as a [`Payload`](crate::data::payload::Payload).
    type Input: Serialize + DeserializeOwned + 'static;
    /// What it returns, as a [`Payload`](crate::data::payload::Payload).
    type Output: Serialize + DeserializeOwned + 'static;

    /// The workflow's code.
    fn run(ctx: Context, input: Self::Input) -> impl Future<Output = WorkflowResult<Self::Output>> + 'static;
}
