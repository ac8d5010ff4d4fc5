//! The client: starts runs, tells them things, and waits for their results. It needs no worker in its process,
//! and it must not know what a store keeps its runs in.

pub(crate) mod batch;
pub(crate) mod call;
pub(crate) mod closed;
pub(crate) mod handle;
pub(crate) mod info;
pub(crate) mod list;
pub(crate) mod message;
pub(crate) mod request;
pub(crate) mod run_type;
pub(crate) mod start;
#[cfg(test)]
mod tests;
pub(crate) mod watcher;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::call::{Settings, Shared};
pub use self::handle::{AwaitResult, RunHandle};
pub use self::info::{RunInfo, RunStatus, UndeliveredMessage};
pub use self::list::ListRuns;
pub use self::message::{CancelRun, SendSignal, TerminateRun};
pub use self::request::{Prepared, Request};
pub use self::run_type::{RunType, Untyped};
pub use self::start::StartRun;
use crate::data::id::{RunId, ShardId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::error::Error;
use crate::history::History;
use crate::history::event::HistoryEvent;
use crate::host::{Host, SystemHost};
use crate::store::Store;
use crate::workflow::Workflow;
use crate::workflow::registry::check_name;
use crate::workflow::signal::Signal;

/// The name of the queue that clients and workers use where none is given.
const QUEUE_DEFAULT: &str = "default";

/// Starts runs, tells them things, and waits for their results. Cheap to clone; clones share everything.
///
/// What a request does is durable when its future is done. A request that the store does not answer is sent
/// again a few times, about two seconds in all, and takes effect once however often it was sent.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows::Worker;
/// use pgworkflows::MemoryStore;
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
/// let talk = async {
///     let run = client.start::<Greeting>("Hello".to_owned()).key("greeting:ada").await?;
///     run.signal(NAME, "Ada".to_owned()).await?;
///     assert_eq!(run.result().timeout(Duration::from_secs(10)).await?, "Hello, Ada!");
///
///     // The same start again: the run is over, and its result is still there.
///     let again = client.start::<Greeting>("Hello".to_owned()).key("greeting:ada").await?;
///     assert!(again.is_existing());
///     assert_eq!(again.result().await?, "Hello, Ada!");
///     assert!(run.signal(NAME, "Bob".to_owned()).await.unwrap_err().is_run_over());
///     Ok::<(), pgworkflows::Error>(())
/// };
/// // Here both live in one process: the worker goes on until the talk is over.
/// let mut talked = Ok(());
/// worker.run_until(async { talked = talk.await }).await?;
/// talked
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// A client of the queue `default`. A store's handle is given by value, a shared store as an [`Arc`]; see
    /// [`Client::builder`] for more.
    ///
    /// # Panics
    /// Outside of a tokio runtime: the client waits for results in a task of the runtime in which it was made.
    pub fn new(store: impl Store) -> Self {
        ClientBuilder::new(Arc::new(store)).finish(Arc::new(SystemHost::current()))
    }

    /// A client with settings of its own.
    pub fn builder(store: impl Store) -> ClientBuilder {
        ClientBuilder::new(Arc::new(store))
    }

    /// Starts a run. It exists, for everybody, when the returned builder has been awaited.
    ///
    /// # Errors
    /// See [`StartRun`].
    pub fn start<W: Workflow>(&self, input: W::Input) -> StartRun<W> {
        StartRun::typed(Arc::clone(&self.shared), &input)
    }

    /// As [`Client::start`], for a client that has the workflow's name and no type: the input is mostly JSON, and the
    /// result is a payload as well. Whether the input is of the workflow's type shows when a worker begins the run: if
    /// it is not, the run stalls.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows::Error;
    /// # use pgworkflows::payload::Payload;
    /// async fn onboard(client: &Client) -> Result<(), Error> {
    ///     let signup = Payload::from_json(r#"{"company": "Acme", "email": "ada@acme.example"}"#).unwrap();
    ///     let run = client.start_named("trial-onboarding", signup).key("signup:42").await?;
    ///     let decision = Payload::from_json(r#"{"upgraded": true, "plan": "pro"}"#).unwrap();
    ///     client.signal_named(run.run_id(), "upgrade", decision).await?;
    ///     println!("{:?}", run.result().await?.to_json());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`StartRun`]. [`Error::is_payload`]: the input cannot be read at all.
    pub fn start_named(&self, workflow: impl Into<Name>, input: Payload) -> StartRun<Untyped> {
        StartRun::named(Arc::clone(&self.shared), workflow.into(), input)
    }

    /// A handle of a run whose id is known. Nothing is asked: whether there is such a run, and of this workflow,
    /// shows when the handle is used. Of a workflow that is not known here, `W` is [`Untyped`].
    pub fn handle<W: RunType>(&self, run: RunId) -> RunHandle<W> {
        RunHandle::unchecked(Arc::clone(&self.shared), run)
    }

    /// The run of that workflow that was started under a key, if there is one.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for a key that no start could have, [`Error::is_unavailable`].
    pub async fn find<W: Workflow>(&self, key: &str) -> Result<Option<RunHandle<W>>, Error> {
        check_name("key", key)?;
        let found = self.shared.retry(|| self.shared.store.query().find(W::NAME, key)).await?;
        Ok(found.map(|run| RunHandle::known(Arc::clone(&self.shared), run, true)))
    }

    /// Lists runs, the newest first.
    pub fn list(&self) -> ListRuns {
        ListRuns::new(Arc::clone(&self.shared))
    }

    /// What [`RunHandle::signal`] does, for a run whose workflow is not known here.
    pub fn signal<T: Serialize + DeserializeOwned>(
        &self,
        run: RunId,
        signal: Signal<T>,
        content: T,
    ) -> SendSignal {
        SendSignal::typed(Arc::clone(&self.shared), run, signal, &content)
    }

    /// As [`Client::signal`], for a client that has the signal's name and no type; see [`Client::start_named`].
    ///
    /// # Errors
    /// See [`SendSignal`]. [`Error::is_payload`]: the content cannot be read at all.
    pub fn signal_named(&self, run: RunId, signal: impl Into<Name>, content: Payload) -> SendSignal {
        SendSignal::named(Arc::clone(&self.shared), run, signal.into(), content)
    }

    /// What [`RunHandle::cancel`] does, for a run whose workflow is not known here.
    pub fn cancel(&self, run: RunId) -> CancelRun {
        CancelRun::new(Arc::clone(&self.shared), run)
    }

    /// What [`RunHandle::terminate`] does, for a run whose workflow is not known here.
    pub fn terminate(&self, run: RunId, reason: impl Into<String>) -> TerminateRun {
        TerminateRun::new(Arc::clone(&self.shared), run, reason.into())
    }

    /// What there is to say of a run.
    ///
    /// # Errors
    /// [`Error::is_unknown_run`], [`Error::is_unavailable`].
    pub async fn describe(&self, run: RunId) -> Result<RunInfo, Error> {
        self.shared.describe(run).await
    }

    /// All that happened to a run, in order. Empty until a worker has begun the run.
    ///
    /// # Errors
    /// [`Error::is_unknown_run`], [`Error::is_unavailable`].
    pub async fn history(&self, run: RunId) -> Result<Vec<HistoryEvent>, Error> {
        History::new(self.shared.history(run).await?).events()
    }

    /// The run's history with the bytes that the store has, to keep it in a file: replay checks hold today's code
    /// against it.
    ///
    /// # Errors
    /// [`Error::is_unknown_run`], [`Error::is_unavailable`].
    pub async fn export(&self, run: RunId) -> Result<History, Error> {
        Ok(History::new(self.shared.history(run).await?))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("queue", &self.shared.settings.queue).finish_non_exhaustive()
    }
}

/// Settings of a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    store: Arc<dyn Store>,
    settings: Settings,
    host: Option<Arc<dyn Host>>,
}

impl ClientBuilder {
    fn new(store: Arc<dyn Store>) -> Self {
        let settings = Settings {
            queue: QUEUE_DEFAULT.to_owned(),
            queue_shards: limits::QUEUE_SHARDS,
            payload_bytes_max: limits::PAYLOAD_BYTES_MAX,
            poll_interval: limits::CLIENT_POLL_INTERVAL,
        };
        Self { store, settings, host: None }
    }

    /// The queue that starts go to: `default` unless told otherwise. Handles reach the runs of every queue.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.settings.queue = name.into();
        self
    }

    /// How many shards the queue gets should this client be the one that creates it: 1 to 4096, 64 unless told
    /// otherwise. A queue that exists keeps the number that it has.
    #[must_use]
    pub fn queue_shards(mut self, shards: u16) -> Self {
        self.settings.queue_shards = shards;
        self
    }

    /// How many bytes an input or a signal's content may have once encoded: 2 MiB unless told otherwise.
    #[must_use]
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.payload_bytes_max = bytes;
        self
    }

    /// How often to look for results without being told, should the store's hints be lost: every second unless
    /// told otherwise. It asks for all awaited runs of the process at once, and nothing when none is awaited.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Where time, entropy and tasks come from: the machine and the current tokio runtime unless told otherwise.
    #[must_use]
    pub fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.host = Some(host);
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for a setting that cannot be, or outside of a tokio runtime if no host was given.
    pub fn build(mut self) -> Result<Client, Error> {
        let Settings { queue, queue_shards, poll_interval, .. } = &self.settings;
        check_name("queue name", queue)?;
        if !(1..=ShardId::COUNT).contains(queue_shards) {
            return Err(Error::invalid(format!(
                "queue `{queue}` cannot have {queue_shards} shards; give it 1 to {}",
                ShardId::COUNT
            )));
        }
        if poll_interval.is_zero() {
            return Err(Error::invalid(
                "the poll interval is zero; a client that polls without a pause would keep \
                 the store busy, so give it some milliseconds at least",
            ));
        }
        let host = match self.host.take() {
            Some(host) => host,
            None if tokio::runtime::Handle::try_current().is_ok() => Arc::new(SystemHost::current()),
            None => {
                return Err(Error::invalid(
                    "a client is made inside of a tokio runtime, and there is none here; build it inside, or give \
                     it a `host`",
                ));
            }
        };
        Ok(self.finish(host))
    }

    fn finish(self, host: Arc<dyn Host>) -> Client {
        Client { shared: Arc::new(Shared::new(self.store, host, self.settings)) }
    }
}
