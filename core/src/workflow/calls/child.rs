//! `ctx.child`: starts a run of another workflow and waits for its outcome. It must not know how the run is started, or how
//! its outcome arrives.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use futures::future::FusedFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::future::{CallSite, DurableCall, DurableFuture, Opened};
use super::send_signal::send_signal;
use crate::data::child::{ChildPolicy, Parent};
use crate::data::failure::Failure;
use crate::data::id::RunId;
use crate::data::name::Name;
use crate::data::recipient::Recipient;
use crate::workflow::Workflow;
use crate::workflow::command::{Command, Source, StartChild};
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, OpenChild, Resolution};
use crate::workflow::scope::call_handle::CallHandle;
use crate::workflow::signal::NamedSignal;

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
    on_cancel: ChildPolicy,
    at_end: ChildPolicy,
    output: PhantomData<fn() -> O>,
}

impl<I, O> DurableFuture<ChildCall<I, O>> {
    pub(crate) fn child(scope: &Rc<Scope>, workflow: &'static str, input: I, source: Source) -> Self {
        let (on_cancel, at_end) = (ChildPolicy::default(), ChildPolicy::default());
        let call = ChildCall { input, key: None, on_cancel, at_end, output: PhantomData };
        Self::new(scope, "child", workflow, source, call)
    }

    /// Gives the child an idempotency key, as [`StartRun::key`](crate::client::StartRun::key) does. If another run of the
    /// workflow has the key, open or over, the call fails with `key-taken`, and the failure names that run: a child is never
    /// a run that has another parent, or none. So a run that would be its own ancestor is refused as well.
    ///
    /// Such a child is started after its event is in the log, which costs one more commit. See [`ChildFuture`].
    #[track_caller]
    pub fn key(self, key: impl Into<String>) -> Self {
        let key = key.into();
        self.set(|call| call.key = Some(key))
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
    /// # let mut result = Ok(0);
    /// # worker.run_until(async { result = talk.await }).await?;
    /// # assert_eq!(result?, 3);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn start(mut self) -> StartedChild<I, O> {
        self.open_now();
        let run = self.handle().and_then(CallHandle::child);
        if run.is_none() {
            self.site().fault("`start` is called after its first poll, or after a problem with the call");
        }
        // After a fault, the code is dropped at the end of this poll.
        StartedChild { run: run.unwrap_or(self.site().scope.run()), future: self }
    }
}

impl<I, O> DurableCall for ChildCall<I, O>
where
    I: Serialize + DeserializeOwned,
    O: DeserializeOwned,
{
    type Output = WorkflowResult<O>;

    fn open(self, site: &CallSite) -> Option<Opened<Self::Output>> {
        let Self { input, key, on_cancel, at_end, .. } = self;
        if let Some(Err(problem)) = key.as_deref().map(|key| Name::check("key", key)) {
            site.fault(problem);
            return None;
        }
        let input = site.scope.encode(&format_args!("the input of {}", site.label), &input)?;
        let workflow = site.label.name.clone();
        let open = |id| {
            let parent = Parent { run: site.scope.run(), call: id };
            let child = site.scope.child_id(parent, key.as_deref());
            CallKind::Child(Box::new(OpenChild { child, workflow: workflow.clone(), on_cancel, at_end }))
        };
        let handle = CallHandle::open_with(&site.scope, open, site.source);
        let child = handle.child()?;
        let start = StartChild { id: handle.id(), child, workflow, input, key, at_end };
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

impl Failure {
    fn is_asked_cancellation(&self, site: &CallSite) -> bool {
        let cause = self.cause.as_ref();
        site.scope.cancellations() > 0 && cause.is_some_and(|cause| cause.type_name == CHILD_CANCELLED)
    }
}

/// A child that was started: it can be signalled, and its outcome can be awaited. As a future, it is that outcome. See
/// [`ChildFuture::start`](DurableFuture::start).
pub type Child<W> = StartedChild<<W as Workflow>::Input, <W as Workflow>::Output>;

/// A started child, by the types of its input and its output: see [`Child`].
#[must_use = "dropping a child gives it up"]
pub struct StartedChild<I, O> {
    run: RunId,
    future: DurableFuture<ChildCall<I, O>>,
}

impl<I, O> StartedChild<I, O> {
    /// The child's id.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Ship: Workflow<Input = u64, Output = ()>>(ctx: Context) -> WorkflowResult<()> {
    /// let ship = ctx.child::<Ship>(7).start();
    /// ctx.publish(View::new("shipment"), &ship.id().to_string());
    /// ship.await
    /// # }
    /// ```
    pub fn id(&self) -> RunId {
        self.run
    }

    /// Sends a signal to the child, as [`Context::signal`](crate::workflow::context::Context::signal) does. See
    /// [`start`](DurableFuture::start) for an example. A signal that is sent before a child with a key is started comes back,
    /// and is kept as undelivered of this run: give such a child what it needs in its input, or wait for something first.
    #[track_caller]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "takes its content by value, as `Context::signal` does"
    )]
    pub fn signal<T: Serialize + DeserializeOwned>(&self, signal: impl Into<NamedSignal<T>>, content: T) {
        let to = Recipient::Run(self.run);
        send_signal(&self.future.site().scope, to, signal.into().into_name(), &content, Location::caller());
    }

    /// The future of the child's outcome: what awaiting the handle itself returns.
    pub fn result(self) -> DurableFuture<ChildCall<I, O>> {
        self.future
    }
}

impl<I, O> Future for StartedChild<I, O>
where
    I: Serialize + DeserializeOwned,
    O: DeserializeOwned,
{
    type Output = WorkflowResult<O>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.future).poll(task)
    }
}

impl<I, O> FusedFuture for StartedChild<I, O>
where
    I: Serialize + DeserializeOwned,
    O: DeserializeOwned,
{
    fn is_terminated(&self) -> bool {
        self.future.is_terminated()
    }
}

impl<I, O> fmt::Debug for StartedChild<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Child({} in {:?})", self.run, self.future)
    }
}
