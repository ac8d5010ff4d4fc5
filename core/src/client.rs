//! The client: starts runs, sends them messages, and waits for their results. It needs no worker in its process,
//! and must not know how a store keeps runs.

pub(crate) mod activity_queue;
pub(crate) mod batch;
pub(crate) mod broadcast;
pub(crate) mod builder;
mod by_name;
pub(crate) mod call;
pub(crate) mod closed;
pub(crate) mod handle;
mod history_page;
pub(crate) mod in_activity;
pub(crate) mod info;
pub(crate) mod key;
mod known_types;
pub(crate) mod lazy;
pub(crate) mod list;
pub(crate) mod message;
mod overview;
pub(crate) mod queue;
mod received;
pub(crate) mod request;
mod run_status;
pub(crate) mod run_type;
pub(crate) mod start;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod update;
mod view;
pub(crate) mod watcher;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::activity_queue::ActivityQueue;
pub use self::broadcast::{Broadcast, BroadcastPage};
pub use self::builder::ClientBuilder;
use self::call::ClientShared;
pub use self::handle::{AwaitResult, RunHandle};
pub use self::history_page::HistoryPage;
pub use self::info::{RunInfo, RunStatus, UndeliveredMessage};
pub use self::list::{FoundRuns, ListRuns};
pub use self::message::{CancelRun, PauseRun, ResumeRun, RetryNow, SendSignal, TerminateRun};
pub use self::queue::{QueueHandle, QueueInfo, UnservedShards, WorkerInfo};
pub use self::request::{Prepared, Request};
pub use self::run_type::{Json, RunType, Untyped};
pub use self::start::StartRun;
pub use self::update::UpdateRun;
pub use self::view::ViewChanges;
use crate::data::id::RunId;
use crate::data::name::Name;
use crate::data::payload::Payload;
pub use crate::data::wait::Wait;
use crate::error::Error;
use crate::history::History;
use crate::history::event::HistoryEvent;
use crate::host::SystemHost;
use crate::store::Store;
use crate::workflow::Workflow;
use crate::workflow::registry::check_name;
use crate::workflow::signal::NamedSignal;

/// Starts runs, sends them messages, and waits for their results. Cheap to clone; clones share everything.
///
/// A request is durable once its future has resolved. If the store does not answer, the request is retried five times
/// within about two seconds, and takes effect once however often it was sent.
///
/// ```
/// use pgworkflows::MemoryStore;
/// use pgworkflows::prelude::*;
///
/// const NAME: Signal<String> = Signal::new("name");
///
/// struct Greeting;
///
/// impl Workflow for Greeting {
///     const NAME: &'static str = "greeting";
///     type Input = String;
///     type Output = String;
///
///     async fn run(ctx: Context, word: String) -> WorkflowResult<String> {
///         let name = ctx.wait_for(NAME).await?;
///         Ok(format!("{word}, {name}!"))
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let store = MemoryStore::new();
/// let worker = Worker::builder(store.clone()).workflow::<Greeting>().build()?;
/// let client = Client::new(store);
/// let requests = async {
///     let run = client.start::<Greeting>("Hello".to_owned()).key("greeting:ada").await?;
///     run.signal(NAME, "Ada".to_owned()).await?;
///     assert_eq!(run.result().timeout(Duration::from_secs(10)).await?, "Hello, Ada!");
///
///     // The same start again finds the same run, which is over and still has its result.
///     let again = client.start::<Greeting>("Hello".to_owned()).key("greeting:ada").await?;
///     assert!(again.is_existing());
///     assert_eq!(again.result().await?, "Hello, Ada!");
///     assert!(run.signal(NAME, "Bob".to_owned()).await.unwrap_err().is_run_over());
///     Ok::<(), pgworkflows::Error>(())
/// };
/// // The client and the worker share a process here: the worker runs until the requests are done.
/// worker.run_while(requests).await?
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<ClientShared>,
}

impl Client {
    /// Creates a client that starts each run in the queue whose workers know its workflow. Pass the store's handle by value, or a shared store as an [`Arc`]. Use
    /// [`Client::builder`] to change the defaults, and see [`Client`] for an example.
    ///
    /// # Panics
    /// Panics outside a tokio runtime: the client waits for results in a task of the runtime in which it was created.
    pub fn new(store: impl Store) -> Self {
        let shared = ClientBuilder::new(Arc::new(store)).shared_on(Arc::new(SystemHost::current()));
        Self { shared: Arc::new(shared) }
    }

    /// Configures a client; see [`ClientBuilder`] for the defaults and an example.
    pub fn builder(store: impl Store) -> ClientBuilder {
        ClientBuilder::new(Arc::new(store))
    }

    /// Starts a run. The run exists, and every client can see it, once the returned builder has been awaited. See
    /// [`StartRun`] for options and an example.
    ///
    /// # Errors
    /// See [`StartRun`].
    pub fn start<W: Workflow>(&self, input: W::Input) -> StartRun<W> {
        StartRun::typed(Arc::clone(&self.shared), &input)
    }

    /// Starts a run as [`Client::start`] does, for a client that knows the workflow's name but not its type, such as a tool.
    /// The input is usually JSON: a `serde_json::Value`, or a text by [`Payload::from_json`].
    ///
    /// A workflow that the client was [told of](ClientBuilder::workflow) gets no input that it cannot read. The input of any
    /// other is checked when a worker begins the run: if it is not of the workflow's type, the run stalls, and
    /// [`RunInfo::waiting_on`] has the path of the field.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// use pgworkflows::client::Json;
    /// use serde_json::json;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// let signup = json!({"company": "Acme", "email": "ada@acme.example"});
    /// let run = client.start_named("trial-onboarding", signup).key("signup:42").await?;
    /// run.signal_named("upgrade", json!({"upgraded": true, "plan": "pro"})).await?;
    ///
    /// // From another process, which knows no more than the key.
    /// let run = client.find_named("trial-onboarding", "signup:42").await?.expect("it was started");
    /// let result: Option<serde_json::Value> = run.as_type::<Json>().try_result().await?;
    /// assert!(result.is_none()); // No worker executes this run.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`StartRun`]. Returns an error that [`Error::is_payload`] recognises if the input is not valid CBOR or JSON, or is not
    /// of the type that the client was told.
    pub fn start_named(&self, workflow: impl Into<Name>, input: impl Into<Payload>) -> StartRun<Untyped> {
        StartRun::named(Arc::clone(&self.shared), workflow.into(), input.into())
    }

    /// Returns a handle of the run with this id. The store is not asked: whether the run exists and is a run of `W` is
    /// checked when the handle is used. Use [`Untyped`] for a workflow whose type is not known here.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # struct Reminder;
    /// # impl Workflow for Reminder {
    /// #     const NAME: &'static str = "reminder";
    /// #     type Input = String;
    /// #     type Output = ();
    /// #     async fn run(_: Context, _: String) -> WorkflowResult<()> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// let run = client.start::<Reminder>("water the plants".to_owned()).await?;
    /// let id: String = run.run_id().to_string(); // To keep in a table of yours, for example.
    ///
    /// let handle = client.handle::<Reminder>(id.parse().expect("it is a run's id"));
    /// assert_eq!(handle.describe().await?.workflow, "reminder");
    /// # Ok(())
    /// # }
    /// ```
    pub fn handle<W: RunType>(&self, run: RunId) -> RunHandle<W> {
        RunHandle::unchecked(Arc::clone(&self.shared), run)
    }

    /// Finds the run of workflow `W` that was started with this key. Returns `None` if there is none.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # struct Reminder;
    /// # impl Workflow for Reminder {
    /// #     const NAME: &'static str = "reminder";
    /// #     type Input = String;
    /// #     type Output = ();
    /// #     async fn run(_: Context, _: String) -> WorkflowResult<()> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// client.start::<Reminder>("water the plants".to_owned()).key("order:7").await?;
    /// let run = client.find::<Reminder>("order:7").await?.expect("it was started");
    /// run.cancel().await?;
    /// assert!(client.find::<Reminder>("order:8").await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// * [`Error::is_invalid`]: the key is empty, longer than 255 bytes, or has control characters.
    /// * [`Error::is_unavailable`]: the store did not answer.
    pub async fn find<W: Workflow>(&self, key: &str) -> Result<Option<RunHandle<W>>, Error> {
        self.find_run(W::NAME, key).await
    }

    /// Finds the run of the workflow with this name that was started with this key. Returns `None` if there is none. See
    /// [`Client::start_named`] for an example.
    ///
    /// # Errors
    /// * [`Error::is_invalid`]: the name or the key is empty, longer than 255 bytes, or has control characters.
    /// * [`Error::is_unavailable`]: the store did not answer.
    pub async fn find_named(&self, workflow: &str, key: &str) -> Result<Option<RunHandle<Untyped>>, Error> {
        check_name("workflow", workflow)?;
        self.find_run(workflow, key).await
    }

    async fn find_run<W: RunType>(&self, workflow: &str, key: &str) -> Result<Option<RunHandle<W>>, Error> {
        check_name("key", key)?;
        let found = self.shared.retry(|| self.shared.store.query().find(workflow, key)).await?;
        Ok(found.map(|run| RunHandle::known(Arc::clone(&self.shared), run, true)))
    }

    /// Returns a handle of the queue with this name, which describes the queue and its workers. See
    /// [`QueueHandle::describe`] for an example.
    pub fn queue(&self, name: impl Into<String>) -> QueueHandle {
        QueueHandle { shared: Arc::clone(&self.shared), name: name.into() }
    }

    /// Lists runs of every queue, newest first, 100 per page by default. See [`ListRuns`] for filters, errors and an
    /// example.
    pub fn list(&self) -> ListRuns {
        ListRuns::new(Arc::clone(&self.shared))
    }

    /// Sends a signal as [`RunHandle::signal`] does, to a run whose workflow is not known here.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # struct Reminder;
    /// # impl Workflow for Reminder {
    /// #     const NAME: &'static str = "reminder";
    /// #     type Input = String;
    /// #     type Output = ();
    /// #     async fn run(_: Context, _: String) -> WorkflowResult<()> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// const UPGRADE: Signal<String> = Signal::new("upgrade");
    ///
    /// let run = client.start::<Reminder>("water the plants".to_owned()).await?.run_id();
    /// client.signal(run, UPGRADE, "pro".to_owned()).key("request:1").await?;
    /// client.cancel(run).reason("the customer left").await?;
    /// client.terminate(run, "it does not react").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`SendSignal`].
    pub fn signal<T: Serialize + DeserializeOwned>(
        &self,
        run: RunId,
        signal: impl Into<NamedSignal<T>>,
        content: T,
    ) -> SendSignal {
        SendSignal::typed(Arc::clone(&self.shared), run, signal.into(), &content)
    }

    /// Sends a signal as [`Client::signal`] does, for a client that knows the signal's name but not its type. See
    /// [`Client::start_named`] for an example.
    ///
    /// # Errors
    /// See [`SendSignal`]. Returns an error that [`Error::is_payload`] recognises if the content is not valid CBOR or
    /// JSON, or is not of the type that the client was [told](ClientBuilder::signal).
    pub fn signal_named(
        &self,
        run: RunId,
        signal: impl Into<Name>,
        content: impl Into<Payload>,
    ) -> SendSignal {
        SendSignal::named(Arc::clone(&self.shared), run, signal.into(), content.into())
    }

    /// Sends a signal to all open runs of workflow `W` that were started with keys, or to those whose keys have a prefix. See
    /// [`Broadcast`] for an example and errors.
    pub fn broadcast<W: Workflow, T: Serialize + DeserializeOwned>(
        &self,
        signal: impl Into<NamedSignal<T>>,
        content: T,
    ) -> Broadcast {
        let workflow = Name::from_static(W::NAME);
        Broadcast::new(Arc::clone(&self.shared), workflow, signal.into().into_name(), &content)
    }

    /// Asks a run to cancel itself as [`RunHandle::cancel`] does, for a run whose workflow is not known here. See [`Client::signal`]
    /// for an example.
    ///
    /// # Errors
    /// See [`CancelRun`].
    pub fn cancel(&self, run: RunId) -> CancelRun {
        CancelRun::new(Arc::clone(&self.shared), run)
    }

    /// Ends a run as [`RunHandle::terminate`] does, for a run whose workflow is not known here. See [`Client::signal`]
    /// for an example.
    ///
    /// # Errors
    /// See [`TerminateRun`].
    pub fn terminate(&self, run: RunId, reason: impl Into<String>) -> TerminateRun {
        TerminateRun::new(Arc::clone(&self.shared), run, reason.into())
    }

    /// Pauses a run as [`RunHandle::pause`] does, for a run whose workflow is not known here. See [`PauseRun`] for an example.
    ///
    /// # Errors
    /// See [`PauseRun`].
    pub fn pause(&self, run: RunId) -> PauseRun {
        PauseRun::new(Arc::clone(&self.shared), run)
    }

    /// Ends the pause of a run, or has it tried again, as [`RunHandle::resume`] does, for a run whose workflow is not known
    /// here. See [`ResumeRun`] for an example.
    ///
    /// # Errors
    /// See [`ResumeRun`].
    pub fn resume(&self, run: RunId) -> ResumeRun {
        ResumeRun::new(Arc::clone(&self.shared), run)
    }

    /// Has the next attempts of a run's activities begin at once, as [`RunHandle::retry_now`] does, for a run whose workflow is
    /// not known here. See [`RetryNow`] for an example.
    ///
    /// # Errors
    /// See [`RetryNow`].
    pub fn retry_now(&self, run: RunId) -> RetryNow {
        RetryNow::new(Arc::clone(&self.shared), run)
    }

    /// Describes a run: its status, what it waits on, and its outcome.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # struct Reminder;
    /// # impl Workflow for Reminder {
    /// #     const NAME: &'static str = "reminder";
    /// #     type Input = String;
    /// #     type Output = ();
    /// #     async fn run(_: Context, _: String) -> WorkflowResult<()> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// let run = client.start::<Reminder>("water the plants".to_owned()).key("order:7").await?;
    /// let info = client.describe(run.run_id()).await?;
    /// assert_eq!((info.workflow.as_str(), info.key.as_deref()), ("reminder", Some("order:7")));
    /// assert!(!info.status.is_over());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// * [`Error::is_unknown_run`]: there is no such run.
    /// * [`Error::is_unavailable`]: the store did not answer.
    pub async fn describe(&self, run: RunId) -> Result<RunInfo, Error> {
        self.shared.describe_with_history(run).await
    }

    /// Describes the activity queues that have tasks, by queue and activity: how many wait since when, and how many workers
    /// serve them. See [`ActivityQueue`] for an example.
    ///
    /// # Errors
    /// [`Error::is_unavailable`]: the store did not answer.
    pub async fn activity_queues(&self) -> Result<Vec<ActivityQueue>, Error> {
        let found = self.shared.retry(|| self.shared.store.query().activity_queues()).await?;
        Ok(found.into_iter().map(ActivityQueue::new).collect())
    }

    /// Returns a run's events in order; there are none until a worker has begun the run. See [`RunHandle::history`] for
    /// an example.
    ///
    /// # Errors
    /// * [`Error::is_unknown_run`]: there is no such run.
    /// * [`Error::is_unavailable`]: the store did not answer.
    /// * Any other error: an event is damaged, or was written by a newer build. The error names the event.
    pub async fn history(&self, run: RunId) -> Result<Vec<HistoryEvent>, Error> {
        self.shared.history(run).await?.events()
    }

    /// Returns a run's history with its stored bytes. Keep it in a file, so that replay checks can test later code
    /// against it. See [`RunHandle::history`] for an example.
    ///
    /// # Errors
    /// * [`Error::is_unknown_run`]: there is no such run.
    /// * [`Error::is_unavailable`]: the store did not answer.
    pub async fn export(&self, run: RunId) -> Result<History, Error> {
        self.shared.history(run).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("queue", &self.shared.settings.queue).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Builds the client.
    ///
    /// # Errors
    /// Returns an error that [`Error::is_invalid`] recognises if a setting is out of range, if the client was told of a
    /// workflow or a signal with a name that is not valid or with two types, or if no host was given and there is no current
    /// tokio runtime.
    pub fn build(self) -> Result<Client, Error> {
        Ok(Client { shared: Arc::new(self.shared()?) })
    }
}
