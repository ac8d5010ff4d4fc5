//! Messages to an existing run: signals, cancellations, terminations, and requests to resume or to retry. It must not know
//! how the run reacts to them.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::call::{CallKeys, ClientShared};
use crate::client::lazy::{Begin, Lazy, future};
use crate::client::request::{Prepared, Request};
use crate::data::derived::derived_u128;
use crate::data::id::{MessageId, RunId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::optional_key::OptionalKey;
use crate::data::payload::Payload;
use crate::error::Error;
use crate::log::message::Message;
use crate::log::wire;
use crate::store::error::StoreError;
use crate::store::inbox::{Submission, Submitted};
use crate::workflow::registry::check_name;
use crate::workflow::signal::NamedSignal;

/// Makes a builder of a message a future and a [`Request`].
macro_rules! message {
    ($builder:ident) => {
        future!($builder, Result<(), Error>);

        impl Request for $builder {
            type Answer = ();

            fn prepare(self) -> BoxFuture<'static, Result<Prepared<()>, Error>> {
                Box::pin(std::future::ready(self.0.into_built().prepare()))
            }
        }

        impl fmt::Debug for $builder {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($builder)).field(&self.0).finish()
            }
        }
    };
}

/// Sends a signal: once it has been awaited, the signal is durable.
///
/// Signals with one name that a client sends to a run one after the other are consumed in that order.
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows::payload::Payload;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let client = Client::new(pgworkflows::MemoryStore::new());
/// # let input = Payload::encode("water the plants").unwrap();
/// let run = client.start_named("reminder", input).await?;
/// const LITRES: Signal<u32> = Signal::new("litres");
///
/// run.signal(LITRES, 2).key("request:1").await?;
/// run.signal(LITRES, 2).key("request:1").await?; // The run receives the signal once.
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// * [`Error::is_invalid`]: the name or key is empty, longer than 255 bytes or has control characters, or the content is
///   larger than the client's limit (2 MiB by default). The store was not asked.
/// * [`Error::is_payload`]: the content cannot be encoded, or its own type cannot read it back.
/// * [`Error::is_run_over`], [`Error::is_unknown_run`]: nothing was sent.
/// * [`Error::is_unavailable`]: it is not known whether the signal was sent. It is safe to repeat a signal with a key.
#[must_use = "a signal is sent when it is awaited"]
pub struct SendSignal(Lazy<Unsent>);

impl SendSignal {
    pub(super) fn typed<T: Serialize + DeserializeOwned>(
        shared: Arc<ClientShared>,
        run: RunId,
        signal: NamedSignal<T>,
        content: &T,
    ) -> Self {
        let signal = signal.into_name();
        let content = shared.encode(content_of(&signal), content);
        Self::new(shared, run, signal, content)
    }

    pub(super) fn named(shared: Arc<ClientShared>, run: RunId, signal: Name, content: Payload) -> Self {
        let known = &shared.settings.types;
        let content = shared
            .check_payload(content_of(&signal), content, |content| known.check_signal(&signal, content));
        Self::new(shared, run, signal, content)
    }

    fn new(shared: Arc<ClientShared>, run: RunId, signal: Name, content: Result<Payload, Error>) -> Self {
        let key = shared.call.as_ref().map(CallKeys::next);
        let message = content.map(|payload| Message::Signal { signal, payload, key, trace: None });
        Self(Lazy::Built(Unsent { shared, run, message }))
    }

    /// Sets the signal's idempotency key, of 1 to 255 bytes without control characters: of all signals with this name and
    /// key, the run receives the first and drops the others, whatever their content. See [`SendSignal`] for an example.
    /// `None` changes nothing: see [`OptionalKey`].
    pub fn key(mut self, key: impl Into<OptionalKey>) -> Self {
        if let Some(given) = key.into().into_text()
            && let Ok(Message::Signal { key, .. }) = &mut self.0.built().message
        {
            *key = Some(given);
        }
        self
    }
}

pub(super) fn content_of(signal: &Name) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "the content of signal `{signal}`"))
}

message!(SendSignal);

/// Asks a run to cancel itself: once it has been awaited, the request is durable. The workflow may clean up before it
/// ends. See [`RunHandle`](crate::client::handle::RunHandle) for an example.
///
/// # Errors
/// * [`Error::is_invalid`]: the reason is longer than 4096 bytes. The store was not asked.
/// * [`Error::is_run_over`], [`Error::is_unknown_run`]: nothing was sent.
/// * [`Error::is_unavailable`]: it is not known whether the request was sent. It is safe to repeat: a run is cancelled
///   once.
#[must_use = "a cancellation is sent when it is awaited"]
pub struct CancelRun(Lazy<Unsent>);

impl CancelRun {
    pub(crate) fn new(shared: Arc<ClientShared>, run: RunId) -> Self {
        Self(Lazy::Built(Unsent { shared, run, message: Ok(Message::Cancel { reason: None, parent: None }) }))
    }

    /// Sets the reason, up to 4096 bytes. It appears in the run's history and in [`Error::reason`]; there is none by
    /// default. See [`RunHandle`](crate::client::handle::RunHandle) for an example.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.0.built().message = Ok(Message::Cancel { reason: Some(reason.into()), parent: None });
        self
    }
}

message!(CancelRun);

/// Ends a run without asking its code: once it has been awaited, the request is durable. Compensations are skipped;
/// [`Error::skipped_compensations`] names them. See [`RunHandle`](crate::client::handle::RunHandle) for an example.
///
/// # Errors
/// * [`Error::is_invalid`]: the reason is longer than 4096 bytes. The store was not asked.
/// * [`Error::is_run_over`], [`Error::is_unknown_run`]: nothing was sent.
/// * [`Error::is_unavailable`]: it is not known whether the request was sent. It is safe to repeat: a run ends once.
#[must_use = "a termination is sent when it is awaited"]
pub struct TerminateRun(Lazy<Unsent>);

impl TerminateRun {
    pub(crate) fn new(shared: Arc<ClientShared>, run: RunId, reason: String) -> Self {
        Self(Lazy::Built(Unsent { shared, run, message: Ok(Message::Terminate { reason, parent: None }) }))
    }
}

message!(TerminateRun);

/// Pauses a run: once it has been awaited, the request is durable. From when the worker that owns the run reads it, until the
/// run is [resumed](ResumeRun), the workflow's code takes no step, and no new attempt of an activity begins. Another worker that
/// takes the run over leaves it paused.
///
/// What is under way goes on, and its outcome is recorded: attempts that were handed to an executor or are tasks, and steps with
/// their retries. Signals are received, timers fire, timeouts and deadlines pass: all of that waits in the run, and its code
/// takes it in that order, with the times at which it happened, when the run is resumed. A cancellation waits as well; a
/// [termination](TerminateRun) ends the run at once, and so does the grace of a deadline. The compensations of a run that is
/// ending pause, too. A run that no worker has begun is begun first, up to where it waits.
///
/// A run that is paused already stays paused, for the first reason.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// const PAY: Signal<u32> = Signal::new("pay");
///
/// #[workflow(name = "transfer")]
/// async fn transfer(ctx: Context, (): ()) -> WorkflowResult<u32> {
///     ctx.wait_for(PAY).await
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// # let store = pgworkflows::MemoryStore::new();
/// # let worker = Worker::builder(store.clone()).workflow::<transfer>().build()?;
/// # let client = Client::new(store);
/// # let talk = async {
/// let run = client.start::<transfer>(()).await?;
/// run.pause().reason("the bank is closed").await?;
/// run.signal(PAY, 7).await?;
/// let waits = run.result().timeout(Duration::from_millis(20)).await.unwrap_err();
/// assert!(waits.is_timeout(), "a paused run takes no signal");
/// run.resume().await?;
/// assert_eq!(run.result().await?, 7);
/// # Ok(())
/// # };
/// # worker.run_while(talk).await?
/// # }
/// ```
///
/// # Errors
/// * [`Error::is_invalid`]: the reason is longer than 4096 bytes. The store was not asked.
/// * [`Error::is_run_over`], [`Error::is_unknown_run`]: nothing was sent.
/// * [`Error::is_unavailable`]: it is not known whether the request was sent. It is safe to repeat, unless somebody resumes the
///   run in between.
#[must_use = "a request to pause is sent when it is awaited"]
pub struct PauseRun(Lazy<Unsent>);

impl PauseRun {
    pub(crate) fn new(shared: Arc<ClientShared>, run: RunId) -> Self {
        Self(Lazy::Built(Unsent { shared, run, message: Ok(Message::Pause { reason: None }) }))
    }

    /// Sets the reason, up to 4096 bytes. It appears in the run's history, and in what it waits for; there is none by default. See
    /// the example [above](PauseRun).
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.0.built().message = Ok(Message::Pause { reason: Some(reason.into()) });
        self
    }
}

message!(PauseRun);

/// Has a run go on: ends its [pause](PauseRun), and asks for it to be tried again if it was set aside, because the processes that
/// worked on it died, or has stalled. Once it has been awaited, the request is durable. The worker that owns the run consumes
/// it: it loads the run, replays it with the code that it has, and delivers the messages that arrived meanwhile. A run that was set aside begins without
/// strikes, so it is only set aside again after as many deaths as the first time. Where the reason is still there, a run
/// stalls again.
///
/// If the run is neither paused nor set aside nor stalled, nothing happens, and nothing is written to its history. So it is safe to
/// resume every run of a list.
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows::payload::Payload;
/// use pgworkflows::client::RunStatus;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let client = Client::new(pgworkflows::MemoryStore::new());
/// # let input = Payload::encode("water the plants").unwrap();
/// let run = client.start_named("reminder", input).await?;
/// run.resume().await?; // It has not stalled: nothing happens.
///
/// // After what the runs stalled for is mended:
/// for stalled in client.list().status(RunStatus::Stalled).await? {
///     client.resume(stalled.run_id).await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// * [`Error::is_run_over`], [`Error::is_unknown_run`]: nothing was sent.
/// * [`Error::is_unavailable`]: it is not known whether the request was sent. It is safe to repeat.
#[must_use = "a request to resume is sent when it is awaited"]
pub struct ResumeRun(Lazy<Unsent>);

impl ResumeRun {
    pub(crate) fn new(shared: Arc<ClientShared>, run: RunId) -> Self {
        Self(Lazy::Built(Unsent { shared, run, message: Ok(Message::Resume {}) }))
    }
}

message!(ResumeRun);

/// Asks for the attempts of a run that wait for their time, because the attempts before them failed, to begin at once: after
/// the service that they call was mended, for example. Once it has been awaited, the request is durable.
///
/// It concerns every activity and compensation of the run that is in back-off when the run's owner takes the request. It is
/// logged as `retry.requested`, so that it is in force after a crash, too. The number of the attempt, and the delay after it
/// if it fails, are what they would have been.
///
/// If nothing is in back-off, nothing happens, and nothing is written to the run's history. [`RunInfo::waits`] says what is:
/// an activity with `again_at`. A run that was set aside takes the request once it is [resumed](ResumeRun).
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows::payload::Payload;
/// use pgworkflows::client::{RunStatus, Wait};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let client = Client::new(pgworkflows::MemoryStore::new());
/// # let input = Payload::encode("water the plants").unwrap();
/// let run = client.start_named("reminder", input).await?;
/// run.retry_now().await?; // Nothing of it is in back-off: nothing happens.
///
/// // After the payment service was mended:
/// for run in client.list().status(RunStatus::Waiting).await? {
///     let charges = |wait: &Wait| matches!(wait, Wait::Activity { name, again_at: Some(_), .. } if name == "charge");
///     if run.waits.iter().any(charges) {
///         client.retry_now(run.run_id).await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// [`RunInfo::waits`]: crate::client::info::RunInfo::waits
///
/// # Errors
/// * [`Error::is_run_over`], [`Error::is_unknown_run`]: nothing was sent.
/// * [`Error::is_unavailable`]: it is not known whether the request was sent. It is safe to repeat.
#[must_use = "a request to retry is sent when it is awaited"]
pub struct RetryNow(Lazy<Unsent>);

impl RetryNow {
    pub(crate) fn new(shared: Arc<ClientShared>, run: RunId) -> Self {
        Self(Lazy::Built(Unsent { shared, run, message: Ok(Message::Retry {}) }))
    }
}

message!(RetryNow);

/// A message, with the run to which it will be sent.
struct Unsent {
    shared: Arc<ClientShared>,
    run: RunId,
    message: Result<Message, Error>,
}

impl Unsent {
    fn prepare(self) -> Result<Prepared<()>, Error> {
        let (run, mut message) = (self.run, self.message?);
        check(&message)?;
        if let Message::Signal { trace, .. } = &mut message {
            // At the first poll, so that the span in which the signal is awaited counts.
            *trace = self.shared.trace();
        }
        let key = match &message {
            Message::Signal { signal, key: Some(key), .. } => Some(keyed_message(run, signal, key)),
            _ => None,
        };
        let id = key.unwrap_or_else(|| random_message(&self.shared));
        let submission = Submission { message: id, run, body: wire::encode_message(&message), opens: None };
        let store = Arc::clone(&self.shared.store);
        Ok(Prepared::new(store, submission, key.is_some(), move |answer| match answer {
            Submitted::Accepted => Ok(()),
            Submitted::RunOver => Err(Error::run_over(run)),
            Submitted::UnknownRun => Err(Error::unknown_run(run.to_string())),
            Submitted::Existing(_) | Submitted::ExistingOver(_) | Submitted::KeyConflict(_) => {
                let reason =
                    format!("a message to run {run} was answered with {answer:?}, which answers starts only");
                Err(StoreError::corrupt(reason).into())
            }
        }))
    }
}

pub(super) fn submission(message: MessageId, run: RunId, body: &Message) -> Submission {
    Submission { message, run, body: wire::encode_message(body), opens: None }
}

impl Begin for Unsent {
    type Output = Result<(), Error>;

    fn shared(&self) -> &Arc<ClientShared> {
        &self.shared
    }

    fn begin(self) -> BoxFuture<'static, Self::Output> {
        let shared = Arc::clone(&self.shared);
        let prepared = self.prepare();
        Box::pin(async move { shared.submit(prepared?).await })
    }
}

impl fmt::Debug for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsent")
            .field("run", &self.run)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// Checks what a message says, before the store is asked.
fn check(message: &Message) -> Result<(), Error> {
    match message {
        Message::Signal { signal, key, .. } => {
            check_name("signal", signal)?;
            key.iter().try_for_each(|key| check_name("key", key))
        }
        Message::Update { update, key, .. } => {
            check_name("update", update)?;
            key.iter().try_for_each(|key| check_name("key", key))
        }
        Message::Cancel { reason, .. } => check_reason("cancellation", reason.as_deref().unwrap_or_default()),
        Message::Terminate { reason, .. } => check_reason("termination", reason),
        Message::Pause { reason } => check_reason("pause", reason.as_deref().unwrap_or_default()),
        Message::Start { .. }
        | Message::TaskEnded { .. }
        | Message::TaskLost { .. }
        | Message::RunSignal { .. }
        | Message::ChildEnded { .. }
        | Message::Resume {}
        | Message::Retry {} => Ok(()),
    }
}

fn check_reason(what: &str, reason: &str) -> Result<(), Error> {
    if reason.len() <= limits::REASON_BYTES_MAX {
        return Ok(());
    }
    let shown: String = reason.chars().take(60).collect();
    Err(Error::invalid(format!(
        "the reason of the {what}, {shown:?}…, has {} bytes, and the limit is {}; shorten it",
        reason.len(),
        limits::REASON_BYTES_MAX
    )))
}

/// The id of a message with a key, equal for every sender: the first 128 bits, big endian, of the SHA-256 of the run's
/// 16 bytes, the name's length as 4 bytes big endian, the name and the key.
pub(super) fn keyed_message(run: RunId, signal: &str, key: &str) -> MessageId {
    keyed_by("", run, signal, key)
}

/// The same for a kind of message that is not a signal, with that kind before the rest.
pub(super) fn keyed_by(kind: &str, run: RunId, name: &str, key: &str) -> MessageId {
    let (run, length) = (run.as_u128().to_be_bytes(), (name.len() as u32).to_be_bytes());
    MessageId::from_u128(derived_u128(&[kind.as_bytes(), &run, &length, name.as_bytes(), key.as_bytes()]))
}

pub(super) fn random_message(shared: &ClientShared) -> MessageId {
    MessageId::from_u128(u128::from(shared.host.random()) << 64 | u128::from(shared.host.random()))
}
