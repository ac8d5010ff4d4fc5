//! `ctx.activity`: schedules an activity and waits for its outcome. It must not know how it is executed.

use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::future::{CallSite, DurableCall, DurableFuture, Opened};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::positional::Positional;
use crate::data::retry::RetryPolicy;
use crate::workflow::activity::Activity;
use crate::workflow::activity_def::ActivityFailure;
use crate::workflow::command::{Command, Source};
use crate::workflow::error::ActivityError;
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::CallHandle;

/// A call of an activity. The first poll schedules it; dropping the future before its outcome cancels it.
///
/// Each option overrides that of [`Activity::options`] and must be set before the first poll:
///
/// ```
/// # use pgworkflows::prelude::*;
/// # async fn workflow<Ship: Activity<Input = u32, Output = ()>>(ctx: Context) -> WorkflowResult<()> {
/// ctx.activity::<Ship>(7)
///     .retry(RetryPolicy::exponential().initial(Duration::from_millis(100)).max_attempts(5))
///     .start_to_close(Duration::from_secs(30))
///     .schedule_to_close(Duration::from_secs(600))
///     .at_most_once()
///     .queue("gpu")
///     .await
/// # }
/// ```
///
/// # Errors
/// An option that is set after the first poll or is out of its range stalls the run.
pub type ActivityFuture<A> =
    DurableFuture<ActivityCall<<A as Activity>::Input, <A as Activity>::Output, ActivityError>>;

/// A call of an activity by its definition: see [`Context::call`](crate::workflow::context::Context::call). It has the
/// options of an [`ActivityFuture`].
pub type CallFuture<Args, O, E> = DurableFuture<ActivityCall<Positional<Args>, O, E>>;

/// The activity to schedule: its input, and the types of its output and its error.
#[derive(Debug)]
pub struct ActivityCall<I, O, E> {
    input: I,
    options: ActivityOptions,
    waits_for_outcome: bool,
    types: PhantomData<fn() -> (O, E)>,
}

impl<I, O, E> DurableFuture<ActivityCall<I, O, E>> {
    pub(crate) fn activity(
        scope: &Rc<Scope>,
        name: &'static str,
        options: ActivityOptions,
        input: I,
        source: Source,
    ) -> Self {
        let call = ActivityCall { input, options, waits_for_outcome: false, types: PhantomData };
        Self::new(scope, "activity", name, source, call)
    }

    /// Has the call return a [`WorkflowError`](crate::workflow::WorkflowError) instead of a
    /// [`CallError`](crate::workflow::CallError), as [`when_all`](crate::workflow::Context::when_all) needs it.
    ///
    /// ```
    /// use pgworkflows::activity::ActivityDef;
    /// use pgworkflows::prelude::*;
    ///
    /// #[derive(Debug, Failure)]
    /// enum ChargeError {
    ///     #[failure("busy")]
    ///     Busy,
    /// }
    /// const CHARGE: ActivityDef<(u64,), (), ChargeError> = ActivityDef::new("charge");
    ///
    /// async fn pay(ctx: &Context, parts: Vec<u64>) -> WorkflowResult<()> {
    ///     ctx.when_all(parts.into_iter().map(|cents| ctx.call(CHARGE, cents).untyped())).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn untyped(self) -> DurableFuture<ActivityCall<I, O, ActivityError>> {
        self.map(|ActivityCall { input, options, waits_for_outcome, .. }| ActivityCall {
            input,
            options,
            waits_for_outcome,
            types: PhantomData,
        })
    }

    /// Overrides the activity's retry policy; without one, there is one attempt. See [`ActivityFuture`].
    #[track_caller]
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.options(|options| options.retry(policy))
    }

    /// Limits the time of one attempt, which then fails retryably and has its cancellation token cancelled. More than
    /// zero and at most 100 years; no limit by default. See [`ActivityFuture`].
    #[track_caller]
    pub fn start_to_close(self, limit: Duration) -> Self {
        self.options(|options| options.start_to_close(limit))
    }

    /// Limits the time of all attempts and the delays between them, after which the activity fails. More than zero and at
    /// most 100 years; no limit by default. See [`ActivityFuture`].
    #[track_caller]
    pub fn schedule_to_close(self, limit: Duration) -> Self {
        self.options(|options| options.schedule_to_close(limit))
    }

    /// Never repeats an attempt whose process died: the activity fails instead. By default it is repeated. This costs one
    /// more commit. See [`ActivityFuture`].
    #[track_caller]
    pub fn at_most_once(self) -> Self {
        self.options(ActivityOptions::at_most_once)
    }

    /// Sends the activity to an activity queue: a worker executes it that serves the queue
    /// ([`activity_queue`](crate::worker::WorkerBuilder::activity_queue)), instead of the worker that owns the run.
    /// While no worker does, the activity waits. If the worker dies during an attempt, another one repeats it, up to
    /// five times. By default the run's own worker executes it. The name has 1 to 255 bytes and no control characters.
    /// See [`ActivityFuture`].
    ///
    /// ```
    /// # use pgworkflows::MemoryStore;
    /// use pgworkflows::prelude::*;
    ///
    /// struct Render;
    ///
    /// #[async_trait]
    /// impl Activity for Render {
    ///     const NAME: &'static str = "render";
    ///     type Input = String;
    ///     type Output = Vec<u8>;
    ///
    ///     async fn execute(&self, _: ActivityContext, scene: String) -> ActivityResult<Vec<u8>> {
    ///         Ok(scene.into_bytes())
    ///     }
    /// }
    ///
    /// struct Film;
    ///
    /// impl Workflow for Film {
    ///     const NAME: &'static str = "film";
    ///     type Input = String;
    ///     type Output = Vec<u8>;
    ///
    ///     async fn run(ctx: Context, scene: String) -> WorkflowResult<Vec<u8>> {
    ///         ctx.activity::<Render>(scene).queue("gpu").start_to_close(Duration::from_secs(600)).await
    ///     }
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = MemoryStore::new();
    /// // One process owns the runs, another one on a machine with two graphics cards executes the activity.
    /// let owner = Worker::builder(store.clone()).workflow::<Film>().build()?;
    /// let gpu = Worker::builder(store.clone()).activity(Render).activity_queue("gpu", 2).build()?;
    ///
    /// let client = Client::new(store);
    /// let film = async { client.start::<Film>("dawn".to_owned()).await?.result().await };
    /// let film = tokio::select! {
    ///     film = film => film?,
    ///     ended = owner.run() => return ended,
    ///     ended = gpu.run() => return ended,
    /// };
    /// assert_eq!(film, b"dawn");
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn queue(self, name: impl Into<Name>) -> Self {
        let name = name.into();
        self.options(|options| options.queue(name))
    }

    /// Waits for the outcome even if the run is asked to cancel itself meanwhile. By default the call then returns an
    /// error that [`is_cancelled`](crate::workflow::WorkflowError::is_cancelled) recognises, and what the activity did
    /// may be unknown. The activity is not cancelled. Dropping the future still gives it up.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # struct Charge;
    /// # #[async_trait]
    /// # impl Activity for Charge {
    /// #     const NAME: &'static str = "charge";
    /// #     type Input = u64;
    /// #     type Output = ();
    /// #     async fn execute(&self, _: ActivityContext, _: u64) -> ActivityResult<()> { Ok(()) }
    /// # }
    /// async fn pay(ctx: &Context) -> WorkflowResult<()> {
    ///     // Whether the card was charged is known, although the run may have been cancelled.
    ///     ctx.activity::<Charge>(500).wait_for_outcome().await
    /// }
    /// ```
    #[track_caller]
    pub fn wait_for_outcome(self) -> Self {
        self.set(|call| call.waits_for_outcome = true)
    }

    #[track_caller]
    fn options(self, change: impl FnOnce(ActivityOptions) -> ActivityOptions) -> Self {
        self.set(|call| call.options = change(std::mem::take(&mut call.options)))
    }
}

impl<I, O, E> DurableCall for ActivityCall<I, O, E>
where
    I: Serialize + DeserializeOwned,
    O: DeserializeOwned,
    E: ActivityFailure,
{
    type Output = Result<O, E::Called>;

    fn open(self, site: &CallSite) -> Option<Opened<Self::Output>> {
        if let Err(problem) = self.options.check() {
            site.fault(problem);
            return None;
        }
        let input = site.scope.encode(&format_args!("the input of {}", site.label), &self.input)?;
        let activity = site.label.name.clone();
        let mut handle = CallHandle::open(&site.scope, CallKind::Activity(activity.clone()), site.source);
        if self.waits_for_outcome {
            handle = handle.outlives_cancellation();
        }
        let command = Command::ScheduleActivity { id: handle.id(), activity, input, options: self.options };
        site.scope.issue(command, site.source);
        Some(Opened::Waits(handle))
    }

    fn is_shielded(&self) -> bool {
        self.waits_for_outcome
    }

    fn value(site: &CallSite, resolution: Resolution) -> Option<Self::Output> {
        site.outcome("result", resolution).map(|result| result.map_err(E::called))
    }
}
