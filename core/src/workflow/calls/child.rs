//! `ctx.child`: starts a run of another workflow and waits for its outcome. It must not know how the run is started, or how
//! its outcome arrives.

use std::marker::PhantomData;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::future::{CallSite, DurableCall, DurableFuture, Opened};
use super::started_child::StartedChild;
use crate::data::child::{ChildPolicy, Parent};
use crate::data::failure::Failure;
use crate::data::id::RunId;
use crate::data::name::Name;
use crate::data::optional_key::OptionalKey;
use crate::data::time_limits::TimeLimits;
use crate::workflow::Workflow;
use crate::workflow::command::{Command, Source, StartChild};
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, OpenChild, Resolution};
use crate::workflow::scope::call_handle::CallHandle;
use crate::workflow::scope::queues::NoSuchQueue;

/// The start of a child, and the wait for its outcome: see [`Context::child`](crate::workflow::context::Context::child).
///
/// Each option must be set before the first poll:
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows::workflow::ChildPolicy;
///
/// # struct Ship;
/// # impl Workflow for Ship {
/// #     const NAME: &'static str = "ship";
/// #     type Input = u64;
/// #     type Output = String;
/// #     async fn run(_: Context, _: u64) -> WorkflowResult<String> { Ok(String::new()) }
/// # }
/// async fn order(ctx: Context, order: u64) -> WorkflowResult<String> {
///     ctx.child::<Ship>(order)
///         .key(format!("order:{order}"))
///         .on_cancel(ChildPolicy::Terminate)
///         .on_parent_end(ChildPolicy::Leave)
///         .await
/// }
/// ```
///
/// # Errors
/// An option that is set after the first poll, and a key that is empty, longer than 255 bytes or has control characters, stall
/// the run.
pub type ChildFuture<W> = DurableFuture<ChildCall<<W as Workflow>::Input, <W as Workflow>::Output>>;

/// The child to start: its input, and the type of its output.
#[derive(Debug)]
pub struct ChildCall<I, O> {
    input: I,
    key: Option<String>,
    queue: Option<Name>,
    on_cancel: ChildPolicy,
    at_end: ChildPolicy,
    limits: TimeLimits,
    output: PhantomData<fn() -> O>,
}

impl<I, O> DurableFuture<ChildCall<I, O>> {
    pub(crate) fn child(scope: &Rc<Scope>, workflow: &'static str, input: I, source: Source) -> Self {
        let (on_cancel, at_end) = (ChildPolicy::default(), ChildPolicy::default());
        let call = ChildCall {
            input,
            key: None,
            queue: None,
            on_cancel,
            at_end,
            limits: TimeLimits::default(),
            output: PhantomData,
        };
        Self::new(scope, "child", workflow, source, call)
    }

    /// Gives the child an idempotency key, as [`StartRun::key`](crate::client::StartRun::key) does. If another run of the
    /// workflow has the key, open or over, the call fails with `key-taken`, and the failure names that run: a child is never
    /// a run that has another parent, or none. So a run that would be its own ancestor is refused as well.
    ///
    /// Such a child is started after its event is in the log, which costs one more commit. See [`ChildFuture`]. `None` changes
    /// nothing: see [`OptionalKey`].
    #[track_caller]
    pub fn key(self, key: impl Into<OptionalKey>) -> Self {
        match key.into().into_text() {
            Some(key) => self.set(|call| call.key = Some(key)),
            None => self,
        }
    }

    /// Has the child run in another queue, whose workers know its workflow, instead of the queue of this run. Both live in one
    /// store, and everything else is the same: the child starts with the same commit, and its outcome comes back. The name has 1
    /// to 255 bytes and no control characters; another one stalls the run.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[workflow(name = "render")]
    /// async fn render(_ctx: Context, frame: u32) -> WorkflowResult<String> {
    ///     Ok(format!("frame {frame}"))
    /// }
    ///
    /// #[workflow(name = "film")]
    /// async fn film(ctx: Context, frames: u32) -> WorkflowResult<Vec<String>> {
    ///     ctx.when_all((0..frames).map(|frame| ctx.child::<render>(frame).queue("gpu"))).await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// let studio = Worker::builder(store.clone()).workflow::<film>().build()?;
    /// let farm = Worker::builder(store.clone()).queue("gpu").workflow::<render>().build()?;
    /// # let client = Client::new(store);
    /// # let (told, end) = tokio::sync::oneshot::channel::<()>();
    /// # let mut result = Ok(Vec::new());
    /// # let talk = async {
    /// #     while client.queue("gpu").describe().await.is_err() {
    /// #         tokio::time::sleep(Duration::from_millis(5)).await;
    /// #     }
    /// #     result = async { client.start::<film>(2).await?.result().await }.await;
    /// #     drop(told);
    /// # };
    /// # let (farm, studio) = tokio::join!(farm.run_until(async { drop(end.await) }), studio.run_until(talk));
    /// # farm.and(studio)?;
    /// # assert_eq!(result?, ["frame 0", "frame 1"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If there is no queue of that name, because no worker has served it and no client has started a run in it, the call fails
    /// with `unknown-queue`, and the failure names the queue. Whether there is one is asked when the child is to start, and is in
    /// the log from then on.
    #[track_caller]
    pub fn queue(self, name: impl Into<Name>) -> Self {
        let name = name.into();
        self.set(|call| call.queue = Some(name))
    }

    /// What becomes of the child if this run gives it up: if the run is asked to cancel itself, or if this future is dropped
    /// before it is ready. See [`ChildFuture`].
    #[track_caller]
    pub fn on_cancel(self, policy: ChildPolicy) -> Self {
        self.set(|call| call.on_cancel = policy)
    }

    /// What becomes of the child if this run ends while it holds this future, or is terminated. See [`ChildFuture`].
    #[track_caller]
    pub fn on_parent_end(self, policy: ChildPolicy) -> Self {
        self.set(|call| call.at_end = policy)
    }

    /// Limits the time of the child, counted from this call, as [`StartRun::deadline`](crate::client::StartRun::deadline) does: if
    /// the child is not over then, it is cancelled, and fails this call with `child-timed-out` unless it returns something
    /// else. Above zero and at most 100 years, or the run stalls; by default there is no limit.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[workflow(name = "approval")]
    /// async fn approval(ctx: Context, (): ()) -> WorkflowResult<bool> {
    ///     ctx.wait_for(Signal::<bool>::new("approved")).await
    /// }
    ///
    /// #[workflow(name = "invoice")]
    /// async fn invoice(ctx: Context, (): ()) -> WorkflowResult<bool> {
    ///     let approved = ctx.child::<approval>(()).deadline(Duration::from_millis(20)).grace(Duration::from_secs(60)).await;
    ///     Ok(approved.unwrap_or(false))
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<approval>().workflow::<invoice>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async { client.start::<invoice>(()).await?.result().await };
    /// # assert!(!worker.run_while(talk).await??);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn deadline(self, limit: Duration) -> Self {
        self.set(|call| call.limits.deadline = Some(limit))
    }

    /// Limits the time that the child has after its [`deadline`](DurableFuture::deadline), without which a grace stalls the run, as
    /// [`StartRun::grace`](crate::client::StartRun::grace) does: after it, the child ends without its code being asked. Above zero
    /// and at most 100 years; by default there is no limit.
    #[track_caller]
    pub fn grace(self, limit: Duration) -> Self {
        self.set(|call| call.limits.grace = Some(limit))
    }
}

impl<I, O> DurableFuture<ChildCall<I, O>>
where
    I: Serialize + DeserializeOwned,
    O: DeserializeOwned,
{
    /// Starts the child at once, and returns a handle that has its id. Its outcome is awaited later, or never: dropping the
    /// handle gives the child up, as the policies say.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    /// use pgworkflows::workflow::ChildPolicy;
    ///
    /// const HURRY: Signal<()> = Signal::new("hurry");
    ///
    /// #[workflow(name = "pack")]
    /// async fn pack(ctx: Context, items: u32) -> WorkflowResult<u32> {
    ///     ctx.wait_for(HURRY).await?;
    ///     Ok(items)
    /// }
    ///
    /// #[workflow(name = "deliver")]
    /// async fn deliver(ctx: Context, items: u32) -> WorkflowResult<u32> {
    ///     let pack = ctx.child::<pack>(items).on_parent_end(ChildPolicy::Terminate).start();
    ///     ctx.sleep(Duration::from_millis(1)).await?;
    ///     pack.signal(HURRY, ());
    ///     pack.result().await
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<pack>().workflow::<deliver>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async { client.start::<deliver>(3).await?.result().await };
    /// # assert_eq!(worker.run_while(talk).await??, 3);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn start(mut self) -> StartedChild<I, O> {
        self.open_now();
        let run = self.handle().and_then(CallHandle::child);
        if run.is_none() && !self.is_refused() {
            // The code is dropped at the end of this poll.
            self.site().fault("`start` is called after its first poll, or after a problem with the call");
        }
        StartedChild { run: run.unwrap_or_else(|| self.site().scope.no_child()), future: self }
    }
}

impl<I, O> DurableCall for ChildCall<I, O>
where
    I: Serialize + DeserializeOwned,
    O: DeserializeOwned,
{
    type Output = WorkflowResult<O>;

    fn open(self, site: &CallSite) -> Option<Opened<Self::Output>> {
        let Self { input, key, queue, on_cancel, at_end, limits, .. } = self;
        let checked = key.as_deref().map_or(Ok(()), |key| Name::check("key", key));
        let checked =
            checked.and_then(|()| queue.as_ref().map_or(Ok(()), |queue| Name::check("queue", queue)));
        let checked = checked.and_then(|()| limits.check(&"the child"));
        if let Err(problem) = checked {
            site.fault(problem);
            return None;
        }
        let input = site.scope.encode(&format_args!("the input of {}", site.label), &input)?;
        let found = match &queue {
            Some(queue) => site.scope.queue_shards(queue, site.source)?.map(Some),
            None => Ok(None),
        };
        let workflow = site.label.name.clone();
        let open = |id| {
            let parent = Parent { run: site.scope.run(), call: id };
            let child = site.scope.child_id(parent, key.as_deref(), found.unwrap_or_default());
            CallKind::Child(Box::new(OpenChild { child, workflow: workflow.clone(), on_cancel, at_end }))
        };
        let handle = CallHandle::open_with(&site.scope, open, site.source);
        if let (Err(NoSuchQueue), Some(queue)) = (found, queue) {
            site.scope.resolve(handle.id(), Resolution::Failed(Box::new(unknown_queue(&queue))));
            return Some(Opened::Waits(handle));
        }
        let child = handle.child()?;
        let (deadline, grace_until) = limits.after(site.scope.now());
        let start =
            StartChild { id: handle.id(), child, workflow, input, key, at_end, deadline, grace_until };
        site.scope.issue(Command::StartChild(Box::new(start)), site.source);
        Some(Opened::Waits(handle))
    }

    fn value(site: &CallSite, resolution: Resolution) -> Option<Self::Output> {
        Some(match resolution {
            // The run asked the child to cancel itself, and the child did so.
            Resolution::Failed(failure) if failure.is_asked_cancellation(site) => {
                Err(WorkflowError::cancelled())
            }
            Resolution::Failed(failure) => Err(WorkflowError::failed(*failure)),
            Resolution::Value(_)
            | Resolution::Fired
            | Resolution::Asked(_)
            | Resolution::Compensated(_)
            | Resolution::Cancelled => {
                return site.outcome("result", resolution);
            }
        })
    }

    fn poll(handle: &mut CallHandle, site: &CallSite, task: &mut TaskContext<'_>) -> Poll<Resolution> {
        let child = handle.child();
        handle.poll(task).map(|resolution| match (resolution, child) {
            (Resolution::Failed(failure), Some(child)) => {
                Resolution::Failed(Box::new(failure.of_child(&site.label.name, child)))
            }
            (resolution, _) => resolution,
        })
    }
}

/// The type of the failure of a child that was cancelled.
pub(crate) const CHILD_CANCELLED: &str = "child-cancelled";

/// The call for a child that was not carried along: it fails.
pub(super) fn unknown_child(scope: &Rc<Scope>, child: RunId, workflow: &Name, source: Source) -> CallHandle {
    let (on_cancel, at_end) = (ChildPolicy::Leave, ChildPolicy::Leave);
    let open = OpenChild { child, workflow: workflow.clone(), on_cancel, at_end };
    let handle = CallHandle::open(scope, CallKind::Child(Box::new(open)), source);
    let message = format!(
        "run {child} is no child of workflow `{workflow}` that was carried to this run: no run of this chain has carried it, or \
         its outcome was asked for before"
    );
    let failure = Failure::new("unknown-child", message).non_retryable();
    scope.resolve(handle.id(), Resolution::Failed(Box::new(failure)));
    handle
}

/// The failure of a child whose queue does not exist.
fn unknown_queue(queue: &Name) -> Failure {
    let message = format!(
        "there is no queue `{queue}`: a worker that serves it, or a client that starts a run in it, creates it; check the name"
    );
    Failure::new("unknown-queue", message).non_retryable()
}

impl Failure {
    fn is_asked_cancellation(&self, site: &CallSite) -> bool {
        let cause = self.cause.as_ref();
        site.scope.cancellations() > 0 && cause.is_some_and(|cause| cause.type_name == CHILD_CANCELLED)
    }
}
