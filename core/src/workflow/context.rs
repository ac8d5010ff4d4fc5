//! What a workflow's code calls. It must not see the wall clock or any entropy.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::data::id::RunId;
use crate::data::payload::Payload;
use crate::workflow::activity::Activity;
use crate::workflow::calls::activity::ActivityFuture;
use crate::workflow::calls::compensation::Compensation;
use crate::workflow::calls::record::RecordFuture;
use crate::workflow::calls::signal::SignalFuture;
use crate::workflow::calls::step::StepFuture;
use crate::workflow::calls::timer::{TimerCall, TimerFuture};
use crate::workflow::calls::when_all::{Branches, WhenAll};
use crate::workflow::error::ActivityResult;
use crate::workflow::scope::Scope;
use crate::workflow::signal::Signal;

/// A workflow's connection to the engine. Cheap to clone; every clone is the same run's.
///
/// Its durable calls return futures that do nothing until they are polled. They work with every combinator of
/// the `futures` crate, and dropping one before it is ready cancels what it asked for.
#[derive(Clone)]
pub struct Context {
    scope: Rc<Scope>,
}

impl Context {
    pub(crate) fn new(scope: Rc<Scope>) -> Self {
        Self { scope }
    }

    /// Encodes what the workflow returned. If that is impossible, the run stalls at the end of this poll.
    pub(crate) fn encode<T: Serialize + DeserializeOwned>(
        &self,
        what: &dyn fmt::Display,
        value: &T,
    ) -> Option<Payload> {
        self.scope.encode(what, value)
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.scope.run()
    }

    /// The time of what the workflow reacts to right now, by the store's clock. It stands still between two
    /// awaits and never goes backwards.
    pub fn now(&self) -> DateTime<Utc> {
        self.scope.now().into()
    }

    /// A number that looks random, and is the same in every replay.
    pub fn random(&self) -> u64 {
        self.scope.random()
    }

    /// A UUID (version 4) that looks random, and is the same in every replay.
    pub fn uuid(&self) -> Uuid {
        let bits = u128::from(self.scope.random()) << 64 | u128::from(self.scope.random());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// Asks for an activity, and waits for its outcome.
    ///
    /// # Errors
    /// The future returns an error if the activity fails for good, or if the run is cancelled meanwhile.
    #[track_caller]
    pub fn activity<A: Activity>(&self, input: A::Input) -> ActivityFuture<A> {
        ActivityFuture::activity(&self.scope, input, Location::caller())
    }

    /// Executes a closure's future as an inline activity, and waits for its outcome. The closure makes a
    /// future for each attempt; only the outcome is recorded, once.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
    /// let rate: f64 = ctx.step("exchange-rate", || async { Ok(1.08) }).await?;
    /// # let _ = rate;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns an error if the last attempt fails, or if the run is cancelled meanwhile.
    #[track_caller]
    pub fn step<T, F, Fut>(&self, name: &'static str, make: F) -> StepFuture<T, F>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ActivityResult<T>> + Send + 'static,
    {
        StepFuture::step(&self.scope, name, make, Location::caller())
    }

    /// Records a value that a replay could not make again, such as an id, a random number of your own, or a setting of
    /// the process. The closure is called once, when the future is first polled, and the future is ready at once; every
    /// replay finds the value in the log. No call is made and nothing is waited for.
    ///
    /// The closure must be quick, must not fail, and must not use this context; what has effects or does I/O belongs
    /// into an activity or a step. It may be called again if the process dies before the value is in the log.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
    /// let region = ctx.record("region", || std::env::var("REGION").ok()).await;
    /// # let _: Option<String> = region;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A value that its type cannot read back, or that is over the limit of a payload, stalls the run. So does a replay
    /// whose log holds no such value, or one that the code does not ask for.
    #[track_caller]
    pub fn record<T, F>(&self, name: &'static str, make: F) -> RecordFuture<T, F>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> T,
    {
        RecordFuture::record(&self.scope, name, make, Location::caller())
    }

    /// Waits until every branch is done, then returns all their values, or the first failure by position.
    ///
    /// Takes a tuple of up to eight futures, or anything that iterates over futures of one type. With a
    /// [`timeout`](crate::workflow::calls::timeout::Durable::timeout), the branches that are open when the time is over are cancelled:
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
    /// let naps = (1..=3).map(|seconds| ctx.sleep(Duration::from_secs(seconds)));
    /// let result = ctx.when_all(naps).timeout(Duration::from_secs(2)).await;
    /// assert!(result.is_err_and(|error| error.is_timeout()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn when_all<M, B: Branches<M>>(&self, branches: B) -> WhenAll<M, B> {
        WhenAll::new(Rc::clone(&self.scope), branches)
    }

    /// Waits for a time. The deadline is kept over crashes, and one that has passed is not waited for again.
    ///
    /// # Errors
    /// The future returns an error if the run is cancelled meanwhile, or if the deadline is beyond the year
    /// 9999.
    #[track_caller]
    pub fn sleep(&self, time: Duration) -> TimerFuture {
        TimerFuture::timer(&self.scope, TimerCall::After(time), Location::caller())
    }

    /// Waits until a time by the store's clock; at once if it has passed.
    ///
    /// # Errors
    /// As [`Context::sleep`].
    #[track_caller]
    pub fn sleep_until(&self, time: DateTime<Utc>) -> TimerFuture {
        TimerFuture::timer(&self.scope, TimerCall::At(time.into()), Location::caller())
    }

    /// Waits for the next signal of that name: one that came before is taken at once.
    ///
    /// # Errors
    /// The future returns an error if the run is cancelled meanwhile.
    #[track_caller]
    pub fn wait_for<T: DeserializeOwned>(&self, signal: Signal<T>) -> SignalFuture<T> {
        SignalFuture::signal(&self.scope, signal, Location::caller())
    }

    /// Registers an activity to execute should the run fail or be cancelled. Compensations are executed after
    /// the workflow returned, the last registered first, each whether or not another failed.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "inputs are handed over, as those of `activity` are")]
    pub fn on_failure<A: Activity>(&self, input: A::Input) -> Compensation {
        Compensation::register::<A>(&self.scope, &input, Location::caller())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({})", self.scope.run())
    }
}
