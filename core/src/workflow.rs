//! Workflows: what users implement and what their code calls. It must not know how a run is stored or executed.

pub(crate) mod activity;
pub(crate) mod activity_def;
pub(crate) mod activity_fn;
pub(crate) mod async_program;
pub(crate) mod bare;
pub(crate) mod call_error;
pub(crate) mod calls;
pub(crate) mod child_ids;
pub(crate) mod command;
pub(crate) mod context;
pub(crate) mod current_executor;
pub(crate) mod error;
pub(crate) mod execute;
pub(crate) mod fault;
pub(crate) mod locals;
pub(crate) mod mark;
pub(crate) mod own_task;
pub(crate) mod program;
pub(crate) mod queues;
pub(crate) mod registry;
pub(crate) mod running_handlers;
pub(crate) mod scope;
pub(crate) mod shared;
pub(crate) mod signal;
pub(crate) mod update;
pub(crate) mod view;

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::call_error::{BranchError, CallError};
pub use self::calls::activity::{ActivityFuture, CallFuture};
pub use self::calls::branch::BranchFuture;
pub use self::calls::carried_child::{Carried, CarriedChild};
pub use self::calls::child::ChildFuture;
pub use self::calls::compensate::CompensateFuture;
pub use self::calls::compensation::Compensation;
pub use self::calls::continue_as_new::{ContinueAsNew, Never};
pub use self::calls::for_each::{ForEach, Settle};
pub use self::calls::future::DurableFuture;
pub use self::calls::mutex::{LockFuture, Mutex, MutexGuard};
pub use self::calls::record::RecordFuture;
pub use self::calls::scope::{ScopeFuture, ScopeHandle};
pub use self::calls::semaphore::{AcquireFuture, Permit, Semaphore};
pub use self::calls::serve::{Served, Serving};
pub use self::calls::signal::SignalFuture;
pub use self::calls::spawn::Spawn;
pub use self::calls::started_child::{Child, StartedChild};
pub use self::calls::step::StepFuture;
pub use self::calls::timeout::{Durable, Timeout};
pub use self::calls::timer::TimerFuture;
pub use self::calls::until::UntilFuture;
pub use self::calls::update::{UpdateAnswer, UpdateFuture};
pub use self::calls::when_all::{Branches, Items, Tuple, WhenAll};
pub use self::context::Context;
pub use self::error::{OrFail, WorkflowError, WorkflowResult};
pub use self::shared::Shared;
pub use self::signal::{NamedSignal, Signal};
pub use self::update::{Refusal, Update};
pub use self::view::View;
pub use crate::data::child::ChildPolicy;

/// What [`select!`](crate::select) expands to.
pub mod race {
    pub use super::calls::select::{Arm, Arms, First, FirstUnlessComplete, NoArm, Race, Winner};
}

/// Deterministic code that survives its process: a plain `async fn`, which is replayed from the log after a crash.
///
/// Given the same resolutions in the same order, it must make the same durable calls in the same order. So it
/// takes the time, random numbers and ids from its [`Context`], and does everything else that could differ
/// in activities and steps. Its future need not be `Send`.
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
    /// The stored name, unique among a worker's workflows: 1 to 255 bytes without control characters. Open runs refer
    /// to it, so never change it.
    const NAME: &'static str;
    /// The input of a run, stored as a [`Payload`](crate::data::payload::Payload).
    type Input: Serialize + DeserializeOwned + 'static;
    /// The result of a run, stored as a [`Payload`](crate::data::payload::Payload).
    type Output: Serialize + DeserializeOwned + 'static;

    /// Executes the workflow. It is called once for each run and again for each replay.
    ///
    /// # Errors
    /// An error ends the run as failed, or as cancelled if it is [`WorkflowError::cancelled`]. Registered
    /// [`Compensation`]s are executed first.
    fn run(ctx: Context, input: Self::Input) -> impl Future<Output = WorkflowResult<Self::Output>> + 'static;
}
