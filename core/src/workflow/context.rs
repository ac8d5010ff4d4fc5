//! The context that a workflow's code calls. It must not see the wall clock or any entropy.

mod concurrency;
mod continuation;
mod handlers;
mod outward;

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
use crate::data::positional::{Arguments, Positional};
use crate::workflow::activity::Activity;
use crate::workflow::activity_def::{ActivityDef, ActivityFailure};
use crate::workflow::calls::activity::{ActivityFuture, CallFuture};
use crate::workflow::calls::compensate::CompensateFuture;
use crate::workflow::calls::compensation::Compensation;
use crate::workflow::calls::record::RecordFuture;
use crate::workflow::calls::signal::SignalFuture;
use crate::workflow::calls::step::StepFuture;
use crate::workflow::calls::timer::{TimerCall, TimerFuture};
use crate::workflow::calls::update::UpdateFuture;
use crate::workflow::error::ActivityResult;
use crate::workflow::scope::Scope;
use crate::workflow::signal::NamedSignal;
use crate::workflow::update::Update;

/// A workflow's connection to the engine. Cheap to clone; all clones belong to the same run.
///
/// Its durable calls return futures that do nothing until they are polled. They work with every combinator of
/// the `futures` crate that polls in a fixed order: not with its `select!`, nor with that of tokio, which decide by chance;
/// use [`select!`](crate::select). Dropping a future before it is ready cancels its call.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// struct Greeting;
///
/// impl Workflow for Greeting {
///     const NAME: &'static str = "greeting";
///     type Input = String;
///     type Output = String;
///
///     async fn run(ctx: Context, name: String) -> WorkflowResult<String> {
///         let greeting = ctx.step("greeting", || async { Ok("Hello".to_owned()) }).await?;
///         Ok(format!("{greeting}, {name}!"))
///     }
/// }
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// # let store = pgworkflows::MemoryStore::new();
/// # let worker = Worker::builder(store.clone()).workflow::<Greeting>().build()?;
/// # let client = Client::new(store);
/// # let talk = async { client.start::<Greeting>("Ada".to_owned()).await?.result().await };
/// # assert_eq!(worker.run_while(talk).await??, "Hello, Ada!");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Context {
    scope: Rc<Scope>,
}

impl Context {
    pub(crate) fn new(scope: Rc<Scope>) -> Self {
        Self { scope }
    }

    /// Encodes the workflow's output. If that is impossible, the run stalls at the end of this poll.
    pub(crate) fn encode<T: Serialize + DeserializeOwned>(
        &self,
        what: &dyn fmt::Display,
        value: &T,
    ) -> Option<Payload> {
        self.scope.encode(what, value)
    }

    /// The run's id.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow(ctx: Context) -> WorkflowResult<String> {
    /// let invoice = format!("invoice-{}", ctx.run_id());
    /// # Ok(invoice)
    /// # }
    /// ```
    pub fn run_id(&self) -> RunId {
        self.scope.run()
    }

    /// The time of the event that the workflow is reacting to, by the store's clock, in microseconds. It changes only
    /// at an `await`, never goes backwards, and is the same in every replay.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
    /// let began = ctx.now();
    /// ctx.sleep(Duration::from_secs(60)).await?;
    /// assert!((ctx.now() - began).num_seconds() >= 60);
    /// # Ok(())
    /// # }
    /// ```
    pub fn now(&self) -> DateTime<Utc> {
        self.scope.now().into()
    }

    /// A pseudo-random number, uniform over all of `u64`. It is the same in every replay, because the run's id is the
    /// seed. Not for secrets: anyone who knows the run's id can compute it.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
    /// let jitter = Duration::from_millis(ctx.random() % 1_000);
    /// ctx.sleep(jitter).await
    /// # }
    /// ```
    pub fn random(&self) -> u64 {
        self.scope.random()
    }

    /// A UUID (version 4) made of pseudo-random bits. It is the same in every replay; as [`Context::random`], it is not
    /// for secrets.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow(ctx: Context) -> WorkflowResult<String> {
    /// let order = ctx.uuid().to_string();
    /// # Ok(order)
    /// # }
    /// ```
    pub fn uuid(&self) -> Uuid {
        let bits = u128::from(self.scope.random()) << 64 | u128::from(self.scope.random());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// Schedules an activity and waits for its outcome. The activity's [`options`](Activity::options) apply unless the
    /// future's methods override them.
    ///
    /// **By default there is one attempt, without a limit of time**: an error of the activity is the error of the call, and an
    /// attempt that hangs keeps the run waiting. Set a retry policy and `start_to_close`, here or for the activity.
    ///
    /// **Calls are lazy: the activity is scheduled when the future is first awaited.** [`spawn`](Self::spawn) schedules
    /// it at once.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Charge: Activity<Input = u64, Output = String>>(ctx: Context) -> WorkflowResult<()> {
    /// let receipt = ctx
    ///     .activity::<Charge>(1_999)
    ///     .retry(RetryPolicy::exponential().max_attempts(5))
    ///     .start_to_close(Duration::from_secs(30))
    ///     .schedule_to_close(Duration::from_secs(300))
    ///     .await?;
    /// # let _: String = receipt;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns an error if the activity's last attempt fails, if `schedule_to_close` passes, or if the run
    /// is cancelled first. The run stalls if the input cannot be encoded or is over the limit of a payload (2 MiB by
    /// default), if an option is invalid, or if the result cannot be decoded.
    #[track_caller]
    pub fn activity<A: Activity>(&self, input: A::Input) -> ActivityFuture<A> {
        ActivityFuture::<A>::activity(&self.scope, A::NAME, A::options(), input, Location::caller())
    }

    /// Schedules an activity by its definition and waits for its outcome, as [`activity`](Self::activity) does. A
    /// single argument needs no tuple. The options of the definition apply unless the future's methods override them.
    ///
    /// **By default there is one attempt, without a limit of time**: see [`activity`](Self::activity).
    ///
    /// **Calls are lazy: the activity is scheduled when the future is first awaited.** [`spawn`](Self::spawn) schedules
    /// it at once.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// struct Billing;
    ///
    /// #[activities]
    /// impl Billing {
    ///     #[activity(name = "billing.charge", retry = RetryPolicy::exponential().max_attempts(8))]
    ///     async fn charge(&self, payment: String, cents: u64) -> ActivityResult<String> {
    ///         Ok(format!("{payment}: {cents} cents"))
    ///     }
    /// }
    ///
    /// #[workflow(name = "order")]
    /// async fn order(ctx: Context, cents: u64) -> WorkflowResult<String> {
    ///     ctx.call(Billing::CHARGE, (ctx.uuid().to_string(), cents)).await
    /// }
    /// ```
    ///
    /// # Errors
    /// The future returns an error in the cases of [`activity`](Self::activity). If the activity's own error is a type
    /// that derives `Failure`, it is a [`CallError`](crate::workflow::CallError) of that type; otherwise it is a
    /// [`WorkflowError`](crate::workflow::WorkflowError).
    #[track_caller]
    pub fn call<Args, O, E: ActivityFailure>(
        &self,
        activity: ActivityDef<Args, O, E>,
        arguments: impl Arguments<Args>,
    ) -> CallFuture<Args, O, E>
    where
        Positional<Args>: Serialize + DeserializeOwned,
        O: DeserializeOwned,
    {
        let (name, options) = (activity.name(), activity.default_options());
        CallFuture::activity(&self.scope, name, options, arguments.into_positional(), Location::caller())
    }

    /// Executes a closure's future as an inline activity and waits for its outcome. The closure makes a
    /// future for each attempt; only the outcome is recorded, once. By default there is one attempt:
    /// [`retry`](StepFuture::retry) sets a policy.
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
    /// The future returns an error if the last attempt fails, or if the run is cancelled first. The run stalls if the
    /// retry policy is invalid or the recorded result cannot be decoded.
    #[track_caller]
    pub fn step<T, F, Fut>(&self, name: &'static str, make: F) -> StepFuture<T, F>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ActivityResult<T>> + Send + 'static,
    {
        StepFuture::step(&self.scope, name, make, Location::caller())
    }

    /// Records a value that a replay could not compute again, such as an id, a true random number, or a setting of
    /// the process. The first poll of the future calls the closure and is ready at once; every replay takes the value
    /// from the log instead.
    ///
    /// The closure must be quick and must not use this context; side effects and I/O belong in an activity or a step.
    /// It may be called again if the process dies before the value is logged.
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
    /// # Errors
    /// The future returns no error. The run stalls if the value cannot be encoded and decoded again, if it is over the
    /// limit of a payload (2 MiB by default), if the closure panics or uses this context, or if a replay finds no such
    /// value in the log or one that the code does not ask for.
    #[track_caller]
    pub fn record<T, F>(&self, name: &'static str, make: F) -> RecordFuture<T, F>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> T,
    {
        RecordFuture::record(&self.scope, name, make, Location::caller())
    }

    /// Waits for a time, counted from [`Context::now`] at the first poll. The deadline survives crashes, and the waiting
    /// run uses no worker memory.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
    /// ctx.sleep(Duration::from_secs(7 * 24 * 3600)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns an error if the run is cancelled first, or if the deadline is beyond the year 9999: the type
    /// of that failure is `invalid-deadline`.
    #[track_caller]
    pub fn sleep(&self, time: Duration) -> TimerFuture {
        TimerFuture::timer(&self.scope, TimerCall::After(time), Location::caller())
    }

    /// Waits until a time by the store's clock. A time in the past is over at once.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
    /// let due = ctx.now() + Duration::from_secs(3600);
    /// ctx.sleep_until(due).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Context::sleep`].
    #[track_caller]
    pub fn sleep_until(&self, time: DateTime<Utc>) -> TimerFuture {
        TimerFuture::timer(&self.scope, TimerCall::At(time.into()), Location::caller())
    }

    /// Waits for the next signal of that name. A signal that arrived earlier is taken at once, the oldest first.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// const APPROVED: Signal<bool> = Signal::new("approved");
    /// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
    /// let approved = ctx.wait_for(APPROVED).timeout(Duration::from_secs(3600)).await?;
    /// # let _: bool = approved;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns an error if the run is cancelled first. The run stalls if the signal's content is not a `T`.
    #[track_caller]
    pub fn wait_for<T: DeserializeOwned>(&self, signal: impl Into<NamedSignal<T>>) -> SignalFuture<T> {
        SignalFuture::signal(&self.scope, signal.into().into_name(), Location::caller())
    }

    /// Waits for the next update of that name: its request, and the right to answer it. An update that arrived earlier is taken
    /// at once, the oldest first. See [`UpdateAnswer`](crate::workflow::UpdateAnswer) for an example.
    ///
    /// # Errors
    /// The future returns an error if the run is cancelled first. The run stalls if the request is not of the update's type.
    #[track_caller]
    pub fn wait_for_update<Q, A>(&self, update: Update<Q, A>) -> UpdateFuture<Q, A>
    where
        Q: DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        UpdateFuture::update(&self.scope, update, Location::caller())
    }

    /// Registers a compensation: an activity that is executed if the run fails or is cancelled. Compensations are
    /// executed after the workflow has returned, the last registered first, whether or not another one failed.
    /// Termination skips them.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Book, Cancel>(ctx: Context) -> WorkflowResult<()>
    /// # where Book: Activity<Input = u32, Output = u32>, Cancel: Activity<Input = u32> {
    /// let booking = ctx.activity::<Book>(7).await?;
    /// ctx.on_failure::<Cancel>(booking)
    ///     .retry(RetryPolicy::exponential().max_attempts(10))
    ///     .start_to_close(Duration::from_secs(30));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// None. The run stalls if the input cannot be encoded or is over the limit of a payload (2 MiB by default), or if
    /// an option is invalid.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "takes its input by value, as `activity` does")]
    pub fn on_failure<A: Activity>(&self, input: A::Input) -> Compensation {
        Compensation::register(&self.scope, A::NAME, A::options(), &input, Location::caller())
    }

    /// Executes the compensations that are registered, the last registered first, while the workflow goes on: it is how a
    /// workflow undoes what it has done and then returns a business result. It returns those that failed for good, in the
    /// order of their execution, and is ready at once if nothing is registered.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Reserve, Release, Charge>(ctx: Context) -> WorkflowResult<String>
    /// # where Reserve: Activity<Input = u32, Output = ()>, Release: Activity<Input = u32>,
    /// #     Charge: Activity<Input = u64, Output = ()> {
    /// ctx.on_failure::<Release>(7);
    /// ctx.activity::<Reserve>(7).await?;
    /// if let Err(declined) = ctx.activity::<Charge>(1_999).await {
    ///     let failed = ctx.compensate().await;
    ///     return Ok(format!("{declined}; {} compensations failed", failed.len()));
    /// }
    /// # Ok(String::new())
    /// # }
    /// ```
    ///
    /// A round is shielded: a cancellation does not end it. Nor does dropping the future: the round goes on, the next one
    /// waits for it, and so does the end of the run, whatever the workflow returned. What is registered after a round has
    /// begun belongs to the next round, or to the end of the run. What failed in a round is also among the compensations
    /// that the end of a failed or cancelled run names. Termination skips what is left.
    ///
    /// # Errors
    /// None: what failed is the value of the future. The run stalls if more than 8 rounds are open at a time.
    #[track_caller]
    pub fn compensate(&self) -> CompensateFuture {
        CompensateFuture::compensate(&self.scope, Location::caller())
    }

    /// Registers a compensation as [`on_failure`](Self::on_failure) does, by the definition of the activity.
    ///
    /// ```
    /// use pgworkflows::activity::ActivityDef;
    /// use pgworkflows::prelude::*;
    ///
    /// const BOOK: ActivityDef<(String,), u32> = ActivityDef::new("flight.book");
    /// const CANCEL: ActivityDef<(u32,), ()> = ActivityDef::new("flight.cancel");
    ///
    /// async fn travel(ctx: &Context, to: String) -> WorkflowResult<()> {
    ///     let booking = ctx.call(BOOK, to).await?;
    ///     ctx.compensate_with(CANCEL, booking).retry(RetryPolicy::exponential().max_attempts(10));
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`on_failure`](Self::on_failure).
    #[track_caller]
    pub fn compensate_with<Args, O, E>(
        &self,
        activity: ActivityDef<Args, O, E>,
        arguments: impl Arguments<Args>,
    ) -> Compensation
    where
        Positional<Args>: Serialize + DeserializeOwned,
    {
        let (name, options) = (activity.name(), activity.default_options());
        Compensation::register(&self.scope, name, options, &arguments.into_positional(), Location::caller())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({})", self.scope.run())
    }
}
