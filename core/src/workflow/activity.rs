//! What users implement for side effects. It must not know who executes an activity, or where.

use crate::data::options::ActivityOptions;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ActivityResult;
use crate::data::cancellation::Cancellation;
use crate::data::id::{CommandId, RunId};
use crate::data::time::Timestamp;
use crate::host::{Host, StoreClock};

/// Side-effecting code that a run asks for. It is executed at least once; its outcome is recorded exactly once.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// pub struct SendWelcome;
///
/// #[async_trait]
/// impl Activity for SendWelcome {
///     const NAME: &'static str = "send-welcome";
///     type Input = String;
///     type Output = ();
///
///     async fn execute(&self, ctx: ActivityContext, email: String) -> ActivityResult<()> {
///         println!("to {email}, with idempotency key {}", ctx.idempotency_key());
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Activity: Send + Sync + 'static {
    /// The stored name, unique among a worker's activities. Runs that are open refer to it: never change it.
    const NAME: &'static str;
    /// What it is called with, as a [`Payload`](crate::data::payload::Payload).
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// What it returns, as a [`Payload`](crate::data::payload::Payload).
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The retry policy and the timeouts of a call that sets none. By default there is one attempt, without
    /// a timeout. Read when the call is made: a change of it leaves scheduled activities alone.
    fn options() -> ActivityOptions {
        ActivityOptions::default()
    }

    /// Does the work, once. It may be executed again if its process dies before the outcome is recorded, so
    /// pass [`ActivityContext::idempotency_key`] on to whatever it calls.
    async fn execute(&self, ctx: ActivityContext, input: Self::Input) -> ActivityResult<Self::Output>;
}

/// What an activity's execution may know of itself.
#[derive(Clone, Debug)]
pub struct ActivityContext {
    pub(crate) run: RunId,
    pub(crate) command: CommandId,
    pub(crate) attempt: u32,
    pub(crate) scheduled_at: Timestamp,
    pub(crate) cancellation: Cancellation,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) clock: Arc<StoreClock>,
}

impl ActivityContext {
    /// The run that asked for the activity.
    pub fn run_id(&self) -> RunId {
        self.run
    }

    /// The durable call of that run.
    pub fn call(&self) -> CommandId {
        self.command
    }

    /// The attempt, from 1 on.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the run asked for the activity.
    pub fn scheduled_at(&self) -> DateTime<Utc> {
        self.scheduled_at.into()
    }

    /// The time by the store's clock, as far as it is known here: never ahead of it, and in a test the time that the
    /// test has come to. An activity that takes the time from here can be tested without waiting.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now(&*self.host).unwrap_or(self.scheduled_at).into()
    }

    /// Waits for a time by the worker's own clock, without keeping it: a crash begins the attempt anew. In a test it
    /// takes no time. For waits that outlive a process there is [`Context::sleep`](crate::workflow::context::Context::sleep).
    pub fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.host.sleep(time)
    }

    /// The same text for every attempt of this call, and for no other call: what to hand to a service that
    /// deduplicates requests.
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}", self.run, self.command)
    }

    /// Cancelled when the outcome is no longer wanted: on a timeout, when the run gives the activity up, when
    /// the worker loses its lease, and when it shuts down and the grace is over.
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }
}
