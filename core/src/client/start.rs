//! `client.start`: submits a new run together with its start message. It must not know how workers execute the run.

mod placed;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::placed::{Beginning, CheckedStart, HandedOver};
use crate::client::call::{CallKeys, ClientShared};
use crate::client::handle::RunHandle;
use crate::client::key::{Compared, Key};
use crate::client::lazy::{Begin, Lazy, future};
use crate::client::message::{content_of, keyed_message, random_message};
use crate::client::request::{Prepared, Request};
use crate::client::run_type::{RunType, Untyped};
use crate::data::attributes::Attributes;
use crate::data::id::RunId;
use crate::data::name::Name;
use crate::data::optional_key::OptionalKey;
use crate::data::payload::Payload;
use crate::data::retry::RetryPolicy;
use crate::data::time_limits::TimeLimits;
use crate::error::Error;
use crate::log::event::Event;
use crate::log::message::Message;
use crate::log::stored_history::decode;
use crate::log::wire;
use crate::store::history::Load;
use crate::store::inbox::FollowUp;
use crate::workflow::Workflow;
use crate::workflow::registry::check_name;
use crate::workflow::signal::NamedSignal;

/// Starts a run: once it has been awaited, the run exists.
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
/// let start = client.start::<Reminder>("water the plants".to_owned());
/// start.key("order:7").delay(Duration::from_secs(3600)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// * [`Error::is_invalid`]: the workflow's name or the key is empty, longer than 255 bytes or has control characters; the
///   delay is zero; the start is after the year 9999; the input is larger than the client's limit (2 MiB by default).
/// * [`Error::is_payload`]: the input cannot be encoded, or its own type cannot read it back.
/// * [`Error::is_key_conflict`]: a run of this workflow was started with the same key but another input or digest.
/// * [`Error::is_key_held`]: an open transaction holds the key, and did not end while the start waited for it (one second
///   with a PostgreSQL store). The error names the transaction. Repeat the start when it has ended.
/// * [`Error::is_unavailable`]: it is not known whether the run was started. It is safe to repeat a start with a key.
#[must_use = "a start does nothing until it is awaited"]
pub struct StartRun<W: RunType>(Lazy<Start<W>>);

/// A start with its options.
struct Start<W: RunType> {
    shared: Arc<ClientShared>,
    workflow: Name,
    input: Result<Payload, Error>,
    key: Option<Key>,
    begin: Beginning,
    limits: TimeLimits,
    /// The signal that follows the start.
    signal: Option<Box<Following>>,
    /// The retries of the whole run. Boxed, because most starts have none.
    retry: Option<Box<RetryPolicy>>,
    attributes: Attributes,
    of: PhantomData<fn() -> W>,
}

/// A signal that follows a start.
struct Following {
    signal: Name,
    content: Result<Payload, Error>,
    /// In an attempt of an activity: the same in every attempt of the call.
    key: Option<String>,
}

impl<W: Workflow> StartRun<W> {
    pub(super) fn typed(shared: Arc<ClientShared>, input: &W::Input) -> Self {
        let workflow = Name::from_static(W::NAME);
        let input = shared.encode(input_of(&workflow), input);
        Self::new(shared, workflow, input)
    }
}

impl StartRun<Untyped> {
    pub(super) fn named(shared: Arc<ClientShared>, workflow: Name, input: Payload) -> Self {
        let known = &shared.settings.types;
        let input =
            shared.check_payload(input_of(&workflow), input, |input| known.check_input(&workflow, input));
        Self::new(shared, workflow, input)
    }
}

impl<W: RunType> StartRun<W> {
    fn new(shared: Arc<ClientShared>, workflow: Name, input: Result<Payload, Error>) -> Self {
        let call = shared.call.as_ref();
        let key = call.map(|call| Key { text: call.next(), compared: Compared::Input });
        let (begin, limits, signal, retry) = (Beginning::AtOnce, TimeLimits::default(), None, None);
        Self(Lazy::Built(Start {
            shared,
            workflow,
            input,
            key,
            begin,
            limits,
            signal,
            retry,
            attributes: Attributes::default(),
            of: PhantomData,
        }))
    }

    /// Sends a signal together with the start, in one transaction: to the new run or, if there is a run with the
    /// [`key`](Self::key) already, to that one. So a run that collects something is started by the first who has something
    /// for it. Replaces an earlier `with_signal`.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// const ITEM: Signal<String> = Signal::new("item");
    ///
    /// #[workflow(name = "basket")]
    /// async fn basket(ctx: Context, (): ()) -> WorkflowResult<[String; 2]> {
    ///     Ok([ctx.wait_for(ITEM).await?, ctx.wait_for(ITEM).await?])
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<basket>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// let put = |item: &str| client.start::<basket>(()).key("customer:7").with_signal(ITEM, item.to_owned());
    /// let first = put("apple").await?;
    /// let second = put("pear").await?;
    /// assert!(!first.is_existing() && second.is_existing());
    /// assert_eq!(second.result().await?, ["apple", "pear"]);
    ///
    /// // The run with the key is over, so it cannot receive the signal.
    /// assert!(put("plum").await.unwrap_err().is_run_over());
    /// # Ok(())
    /// # };
    /// # worker.run_while(talk).await?
    /// # }
    /// ```
    ///
    /// Every start that succeeds sends its signal once, however often the client has to repeat it.
    ///
    /// # Errors
    /// Those of [`SendSignal`](crate::client::SendSignal), when the start is awaited. If the start is refused, because the run
    /// with the key has another input or is over, no signal is sent.
    pub fn with_signal<T: Serialize + DeserializeOwned>(
        mut self,
        signal: impl Into<NamedSignal<T>>,
        content: T,
    ) -> Self {
        let signal = signal.into().into_name();
        let start = self.0.built();
        let content = start.shared.encode(content_of(&signal), &content);
        let key = start.shared.call.as_ref().map(CallKeys::next);
        start.signal = Some(Box::new(Following { signal, content, key }));
        self
    }

    /// Sets the start's idempotency key, of 1 to 255 bytes without control characters. It is unique per workflow for as
    /// long as the run is retained. A second start with the same key and input returns a handle of the existing run; a
    /// second start with another input is an error that names where the inputs differ.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows::payload::Payload;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// let input = |text: &str| Payload::encode(text).unwrap();
    /// let run = client.start_named("reminder", input("water the plants")).key("order:7").await?;
    /// let again = client.start_named("reminder", input("water the plants")).key("order:7").await?;
    /// assert!(again.is_existing() && again.run_id() == run.run_id());
    ///
    /// let other = client.start_named("reminder", input("feed the cat")).key("order:7").await;
    /// assert!(other.unwrap_err().is_key_conflict());
    /// let other = client.start_named("reminder", input("feed the cat")).key_only("order:8").await?;
    /// assert!(client.start_named("reminder", input("wake up")).key_only("order:8").await?.is_existing());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Two inputs are equal if their encodings are, with the entries of maps in any order. The order of items in a list
    /// counts, and the order of a `HashSet` differs in every process: use a `BTreeSet` in the input, or choose what is
    /// compared with [`StartRun::key_only`] or [`StartRun::key_with_digest`]. Each of the three methods replaces an earlier
    /// call of any of them.
    ///
    /// An input in JSON and an input encoded from Rust are equal if their values are, whatever their whitespace and number
    /// formats. The two encode bytes, 32-bit floats and maps with keys other than strings differently, so such inputs
    /// differ.
    ///
    /// The key may be an `Option`, of which `None` changes nothing: see [`OptionalKey`].
    pub fn key(self, key: impl Into<OptionalKey>) -> Self {
        self.keyed(key, Compared::Input)
    }

    /// Sets the key as [`StartRun::key`] does, but compares no inputs: a second start with the key returns a handle of the
    /// existing run, whatever its input. Use it if parts of the input differ between tries, such as the time of a request.
    /// See [`StartRun::key`] for an example.
    pub fn key_only(self, key: impl Into<OptionalKey>) -> Self {
        self.keyed(key, Compared::Nothing)
    }

    /// Sets the key as [`StartRun::key`] does, but compares this digest instead of the input: a hash, such as a SHA-256, of
    /// the parts that make two starts equal. All starts with the key must compute it in the same way.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows::payload::Payload;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// let start = || client.start_named("reminder", Payload::encode("feed the cat").unwrap());
    /// start().key_with_digest("order:7", [1; 32]).await?;
    /// assert!(start().key_with_digest("order:7", [1; 32]).await?.is_existing());
    /// assert!(start().key_with_digest("order:7", [2; 32]).await.unwrap_err().is_key_conflict());
    /// # Ok(())
    /// # }
    /// ```
    pub fn key_with_digest(self, key: impl Into<OptionalKey>, digest: [u8; 32]) -> Self {
        self.keyed(key, Compared::Digest(digest))
    }

    fn keyed(mut self, key: impl Into<OptionalKey>, compared: Compared) -> Self {
        if let Some(text) = key.into().into_text() {
            self.0.built().key = Some(Key { text, compared });
        }
        self
    }

    /// Sets an attribute of the run, by which people find it: the name and the value have 1 to 255 bytes without control
    /// characters, and a run has up to 32 attributes. [`ListRuns::attribute`](crate::client::ListRuns::attribute) finds the runs with
    /// one, however many others there are. [`RunInfo::attributes`](crate::client::RunInfo::attributes), the command line and SQL show
    /// them, so they are no place for secrets. The workflow may change them:
    /// see [`Context::set_attribute`](crate::Context::set_attribute). Replaces an earlier value of the same name.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows::payload::Payload;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// for customer in ["41", "42"] {
    ///     let start = client.start_named("reminder", Payload::encode("water the plants").unwrap());
    ///     start.attribute("customer", customer).attribute("region", "eu").await?;
    /// }
    /// let found = client.list().attribute("customer", "42").await?;
    /// assert_eq!(found.len(), 1);
    /// assert_eq!(found[0].attributes["region"], "eu");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// If a run with the [`key`](Self::key) exists, it keeps its own attributes.
    ///
    /// # Errors
    /// [`Error::is_invalid`], when the start is awaited, if the name, the value or the number of attributes is out of its range.
    pub fn attribute(mut self, name: impl Into<Name>, value: impl Into<String>) -> Self {
        self.0.built().attributes.set(name.into(), Some(value.into()));
        self
    }

    /// Delays the workflow's beginning by this time, by the store's clock. The delay is longer than zero and ends before the
    /// year 10000; by default there is none. The run exists at once. Replaces an earlier `start_at`. See [`StartRun`] for
    /// an example.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.0.built().begin = Beginning::After(delay);
        self
    }

    /// Sets the time, up to the year 9999, at which the workflow begins by the store's clock. If it has passed, the workflow
    /// begins at once. The run exists at once. Replaces an earlier `delay`.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows::payload::Payload;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// let in_2100 = pgworkflows::chrono::DateTime::from_timestamp(4_102_444_800, 0).unwrap();
    /// client.start_named("reminder", Payload::encode("feed the cat").unwrap()).start_at(in_2100).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_at(mut self, time: DateTime<Utc>) -> Self {
        self.0.built().begin = Beginning::At(time);
        self
    }

    /// Has the whole run tried again if its workflow returns an error. By default it is not. Once the compensations of the
    /// failed run are done, a new run of the same key and input goes on in the same chain, after the delay of the policy: see
    /// [`Context::continue_as_new`](crate::Context::continue_as_new). Handles wait for the last attempt, whose failure is that of
    /// the chain. Signals that the failed run has not taken go along; those that it has taken do not.
    ///
    /// A run that is cancelled or terminated is not tried again, nor is a failure that is not retryable or whose type the
    /// policy names. A run that continues as new begins to count anew.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[workflow(name = "import")]
    /// async fn import(ctx: Context, source: String) -> WorkflowResult<u32> {
    ///     let attempt = ctx.attempt();
    ///     ctx.step("read", move || async move {
    ///         if attempt < 3 { Err(std::io::Error::other("locked"))? } else { Ok(7) }
    ///     })
    ///     .await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<import>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// let policy = RetryPolicy::exponential().initial(Duration::from_millis(10)).max_attempts(5);
    /// let run = client.start::<import>("prices.csv".to_owned()).retry(policy).await?;
    /// assert_eq!(run.result().await?, 7);
    /// # Ok(())
    /// # };
    /// # worker.run_while(talk).await?
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::is_invalid`], when the start is awaited, if the policy is out of its range.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.0.built().retry = Some(Box::new(policy));
        self
    }

    /// Limits the time of the run, counted from its start, or from its [delay](Self::delay). If it is not over then, it is cancelled as
    /// by [`RunHandle::cancel`]: the workflow may clean up, and if it returns the cancellation, the run has
    /// [timed out](Error::is_run_timed_out). A deadline survives crashes, and passes while no worker is there, too. The time
    /// is above zero and at most 100 years; by default there is no limit. If a run with the [`key`](Self::key) exists, its
    /// own deadline stays.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[workflow(name = "approval")]
    /// async fn approval(ctx: Context, (): ()) -> WorkflowResult<bool> {
    ///     ctx.wait_for(Signal::<bool>::new("approved")).await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<approval>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// let limited = client.start::<approval>(()).deadline(Duration::from_millis(20)).grace(Duration::from_secs(60));
    /// assert!(limited.await?.result().await.unwrap_err().is_run_timed_out());
    /// # Ok(())
    /// # };
    /// # worker.run_while(talk).await?
    /// # }
    /// ```
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.0.built().limits.deadline = Some(limit);
        self
    }

    /// Limits the time that the workflow has after its [`deadline`](Self::deadline), without which a grace is an error. A run that is not
    /// over then ends at once, without its code being asked: also if it has stalled or is paused, and also during its
    /// compensations, which are skipped as by a termination. The time is above zero and at most 100 years; by default there
    /// is no limit.
    pub fn grace(mut self, limit: Duration) -> Self {
        self.0.built().limits.grace = Some(limit);
        self
    }
}

impl<W: RunType> Start<W> {
    /// Checks what can be checked without the store.
    fn check(self) -> Result<CheckedStart, Error> {
        check_name("workflow", &self.workflow)?;
        if let Some(key) = &self.key {
            check_name("key", &key.text)?;
        }
        self.begin.check(&self.workflow)?;
        let started = format_args!("the start of workflow `{}`", self.workflow);
        self.limits.check(&started).map_err(Error::invalid)?;
        let signal = self.signal.map(|following| following.check(&self.shared)).transpose()?;
        let retry = self.retry.map_or(RetryPolicy::none(), |policy| *policy);
        retry.check().map_err(|problem| {
            Error::invalid(format!(
                "the retry policy of the start of workflow `{}`: {problem}",
                self.workflow
            ))
        })?;
        let attributes = self.attributes.check_all();
        attributes.and_then(|()| Attributes::check_count(self.attributes.len())).map_err(Error::invalid)?;
        let input = self.input?;
        // At the first poll, so that the span in which the start is awaited counts.
        let trace = self.shared.trace();
        let Self { workflow, key, begin, limits, attributes, .. } = self;
        Ok(CheckedStart { workflow, input, key, begin, limits, signal, retry, trace, attributes })
    }
}

impl Following {
    fn check(self, shared: &ClientShared) -> Result<FollowUp, Error> {
        let Self { signal, content, key } = self;
        check_name("signal", &signal)?;
        let message = match &key {
            // The run that receives it is not known yet. The key is that of one request only.
            Some(key) => keyed_message(RunId::from_u128(0), &signal, key),
            None => random_message(shared),
        };
        let trace = shared.trace();
        let body = wire::encode_message(&Message::Signal { signal, payload: content?, key, trace });
        Ok(FollowUp { message, body })
    }
}

fn input_of(workflow: &Name) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "the input of workflow `{workflow}`"))
}

impl<W: RunType> Request for StartRun<W> {
    /// A handle that checks whether the run exists, since its transaction may be rolled back.
    type Answer = RunHandle<W>;

    fn prepare(self) -> BoxFuture<'static, Result<Prepared<RunHandle<W>>, Error>> {
        let start = self.0.into_built();
        let shared = Arc::clone(&start.shared);
        let checked = start.check();
        Box::pin(async move {
            let checked = checked?;
            let (shards, now) = shared.shards(&checked.workflow).await?;
            Ok(checked.place(shards, now, |_| None, shared.host.random())?.prepared(shared, false))
        })
    }
}

future!(StartRun<W: RunType>, Result<RunHandle<W>, Error>);

impl<W: RunType> Begin for Start<W> {
    type Output = Result<RunHandle<W>, Error>;

    fn shared(&self) -> &Arc<ClientShared> {
        &self.shared
    }

    fn begin(self) -> BoxFuture<'static, Self::Output> {
        let shared = Arc::clone(&self.shared);
        let checked = self.check();
        Box::pin(async move {
            let checked = checked?;
            let (shards, now) = shared.shards(&checked.workflow).await?;
            let nearest =
                |wanted| shared.switchboard.as_ref()?.nearest(wanted, shards.first(), shards.last());
            let placed = checked.place(shards, now, nearest, shared.host.random())?;
            let handed_over =
                if placed.is_local { placed.hand_over(&shared).await } else { HandedOver::Refused };
            let repeated = match handed_over {
                HandedOver::Accepted(closed) => {
                    return Ok(RunHandle::known(shared, placed.run, false).closed_by(closed));
                }
                HandedOver::Unknown => true,
                HandedOver::Refused => false,
            };
            // Boxed, because it is rare and would make the future of every start large. A worker of this process may have begun
            // a run whose start is repeated.
            Box::pin(async move {
                let input = placed.start.input.clone();
                let before = (!repeated).then(|| shared.watcher.moment());
                match shared.submit(placed.prepared(Arc::clone(&shared), repeated)).await {
                    Ok(run) => Ok(run.committed(before)),
                    Err(error) => Err(with_differences(error, &shared, &input).await),
                }
            })
            .await
        })
    }
}

/// Adds to a key conflict where the two inputs differ, if the log already has the other input and can be read.
async fn with_differences(error: Error, shared: &ClientShared, input: &Payload) -> Error {
    let Some(holder) = error.run().filter(|_| error.is_key_conflict()) else { return error };
    let first_frame = Load { runs: vec![holder], after: None, bytes: 1 };
    let Ok(loaded) = shared.retry(|| shared.store.query().load(&first_frame)).await else { return error };
    let first = loaded.histories.first().and_then(|history| decode(history).next()?.ok());
    let Some(Event::RunStarted { input: theirs, .. }) = first.map(|first| first.event) else { return error };
    error.differing_in(input.differences(&theirs))
}

impl<W: RunType> fmt::Debug for StartRun<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<W: RunType> fmt::Debug for Start<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartRun")
            .field("workflow", &self.workflow)
            .field("key", &self.key)
            .field("begin", &self.begin)
            .finish_non_exhaustive()
    }
}
