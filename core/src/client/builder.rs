//! The settings of a client. It must not know what a client does with them.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::client::call::{ClientShared, Settings};
use crate::client::known_types::KnownTypes;
use crate::data::id::ShardId;
use crate::data::limits;
use crate::error::Error;
use crate::host::{Host, SystemHost};
use crate::observe::propagator::TracePropagator;
use crate::observe::spans::Propagator;
use crate::store::Store;
use crate::workflow::Workflow;
use crate::workflow::registry::check_name;
use crate::workflow::signal::Signal;

/// Configures a [`Client`](crate::client::Client). Every setting has a default.
///
/// ```
/// # use pgworkflows::MemoryStore;
/// # use pgworkflows::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let builder = Client::builder(MemoryStore::new());
/// let client = builder
///     .queue("billing")
///     .queue_shards(128)
///     .payload_bytes_max(64 * 1024)
///     .poll_interval(Duration::from_millis(500))
///     .build()?;
/// assert!(client.list().await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    store: Arc<dyn Store>,
    settings: Settings,
    host: Option<Arc<dyn Host>>,
}

impl ClientBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let settings = Settings {
            queue: None,
            queue_shards: None,
            payload_bytes_max: limits::PAYLOAD_BYTES_MAX,
            poll_interval: limits::CLIENT_POLL_INTERVAL,
            types: KnownTypes::default(),
            propagator: None,
        };
        Self { store, settings, host: None }
    }

    /// Sets the queue of the runs that this client starts. The name has 1 to 255 bytes and no control characters. Handles
    /// reach runs of every queue.
    ///
    /// By default a run is started in the queue whose workers know its workflow. The client asks the store for it once, and
    /// again after a minute. If no worker that knows the workflow is live, it is the queue of the last one. If no worker ever
    /// knew it, or if those of several queues know it and `default` is one of them, it is `default`; of several others the
    /// client cannot choose, and the start returns an error that [`Error::is_invalid`] recognises.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.settings.queue = Some(name.into());
        self
    }

    /// Sets how many shards the queue has, 1 to 4096. By default a queue that this client creates gets 64, and an existing one
    /// is used whatever it has. A queue keeps the number of shards that it was created with: a start in a queue with another
    /// number is refused.
    #[must_use]
    pub fn queue_shards(mut self, shards: u16) -> Self {
        self.settings.queue_shards = Some(shards);
        self
    }

    /// Sets the maximum size of an encoded input or signal content, in bytes: 2 MiB by default. Larger payloads are
    /// refused before the store is asked.
    #[must_use]
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.payload_bytes_max = bytes;
        self
    }

    /// Tells the client the input type of a workflow, for starts by name ([`Client::start_named`]). An input that is not of this
    /// type is then refused, with the path of the field, before the store is asked. Otherwise the run stalls when a worker
    /// begins it.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use serde_json::json;
    /// # struct Reminder;
    /// # impl Workflow for Reminder {
    /// #     const NAME: &'static str = "reminder";
    /// #     type Input = (String, u32);
    /// #     type Output = ();
    /// #     async fn run(_: Context, _: (String, u32)) -> WorkflowResult<()> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// const LITRES: Signal<u32> = Signal::new("litres");
    ///
    /// let client = Client::builder(store).workflow::<Reminder>().signal(LITRES).build()?;
    /// let error = client.start_named("reminder", json!(["water the plants", "often"])).await.unwrap_err();
    /// assert!(error.is_payload() && error.to_string().contains("[1]"));
    ///
    /// let run = client.start_named("reminder", json!(["water the plants", 7])).await?;
    /// assert!(run.signal_named("litres", json!("two")).await.unwrap_err().is_payload());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`Client::start_named`]: crate::client::Client::start_named
    #[must_use]
    pub fn workflow<W: Workflow>(mut self) -> Self {
        self.settings.types.tell_workflow::<W>();
        self
    }

    /// Tells the client the type of a signal, for signals by name ([`Client::signal_named`]): content that is not of this type is
    /// refused. Otherwise the run stalls when its workflow takes the signal. See [`ClientBuilder::workflow`] for an example.
    ///
    /// [`Client::signal_named`]: crate::client::Client::signal_named
    #[must_use]
    pub fn signal<T: DeserializeOwned>(mut self, signal: Signal<T>) -> Self {
        self.settings.types.tell_signal(signal);
        self
    }

    /// Has runs continue the traces in which the client starts them, such as with OpenTelemetry. By default nothing about
    /// traces is stored. See [`TracePropagator`] for an example.
    #[must_use]
    pub fn trace_propagator(self, propagator: impl TracePropagator) -> Self {
        self.traced_by(Some(Arc::new(propagator)))
    }

    pub(super) fn traced_by(mut self, propagator: Propagator) -> Self {
        self.settings.propagator = propagator;
        self
    }

    /// Sets how often the client polls for results, in case a notification is lost: longer than zero, one second by
    /// default. One poll asks for all runs that the client awaits; a client that awaits none does not poll.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Sets the source of time, randomness and tasks: by default the machine's clock and random numbers, and the current
    /// tokio runtime. Tests use it for virtual time.
    #[must_use]
    pub fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.host = Some(host);
        self
    }

    /// Checks the settings, and makes what the clones of the client share.
    pub(super) fn shared(mut self) -> Result<ClientShared, Error> {
        let Settings { queue, queue_shards, poll_interval, .. } = &self.settings;
        if let Some(queue) = queue {
            check_name("queue name", queue)?;
        }
        if let Some(problem) = self.settings.types.problem() {
            return Err(Error::invalid(problem));
        }
        if let Some(shards) = queue_shards.filter(|shards| !(1..=ShardId::COUNT).contains(shards)) {
            return Err(Error::invalid(format!(
                "a queue cannot have {shards} shards; give `queue_shards` 1 to {}",
                ShardId::COUNT
            )));
        }
        if poll_interval.is_zero() {
            return Err(Error::invalid(
                "the poll interval is zero; a client that polls without a pause would keep the store busy, so \
                 set it to at least a few milliseconds",
            ));
        }
        let host = match self.host.take() {
            Some(host) => host,
            None if tokio::runtime::Handle::try_current().is_ok() => Arc::new(SystemHost::current()),
            None => {
                return Err(Error::invalid(
                    "a client needs a tokio runtime, and there is none here; build the client inside one, or set its \
                     `host`",
                ));
            }
        };
        Ok(self.shared_on(host))
    }

    /// As [`ClientBuilder::shared`], for the default settings, which need no check.
    pub(super) fn shared_on(self, host: Arc<dyn Host>) -> ClientShared {
        ClientShared::new(self.store, host, self.settings)
    }
}
