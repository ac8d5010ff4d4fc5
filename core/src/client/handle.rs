//! A handle of one run: sends it messages, describes it, and waits for its result. It must not know how messages reach the
//! run.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, oneshot};

use crate::client::call::ClientShared;
use crate::client::closed::terminal_event;
use crate::client::info::{RunInfo, RunStatus};
use crate::client::lazy::{Begin, Lazy, future};
use crate::client::message::{CancelRun, PauseRun, ResumeRun, RetryNow, SendSignal, TerminateRun};
use crate::client::run_type::RunType;
use crate::client::watcher::Moment;
use crate::data::id::RunId;
use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::error::Error;
use crate::history::History;
use crate::history::event::HistoryEvent;
use crate::log::event::Event;
use crate::store::append::ClosedRun;
use crate::store::error::StoreError;
use crate::store::watch::{Notice, Topic, What};
use crate::workflow::signal::NamedSignal;

/// A handle of a run of workflow `W`, or of any workflow ([`Untyped`](crate::client::run_type::Untyped)), in whichever
/// process the run is executed. Cheap to clone. To continue in another process, keep the [`RunId`] and use
/// [`Client::handle`](crate::client::Client::handle).
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows::payload::Payload;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let client = Client::new(pgworkflows::MemoryStore::new());
/// # let input = Payload::encode("water the plants").unwrap();
/// let run = client.start_named("reminder", input).await?;
/// run.signal(Signal::<u32>::new("litres"), 2).await?;
/// run.cancel().reason("it rains").await?;
/// assert!(!run.status().await?.is_over()); // No worker has begun this run.
/// run.terminate("nobody is there to water them").await?;
/// # Ok(())
/// # }
/// ```
pub struct RunHandle<W: RunType> {
    shared: Arc<ClientShared>,
    run: RunId,
    existing: bool,
    /// Whether the store is known to have this run, of this workflow. If not, that is checked before its result is
    /// awaited, since the result of another run would never arrive.
    known: bool,
    /// A moment at which the run had not begun, if this client knows one.
    before: Option<Moment>,
    /// Receives the run's end from a worker of this process, if the run began here and stays in its memory.
    closed: Option<Arc<Mutex<ClosedHere>>>,
    workflow: PhantomData<fn() -> W>,
}

/// What a worker of this process reports of a run's end.
enum ClosedHere {
    Awaited(oneshot::Receiver<Notice>),
    /// `None` if the run left the worker's memory before its end.
    Known(Option<ClosedRun>),
}

impl ClosedHere {
    async fn wait(&mut self) -> Option<&ClosedRun> {
        if let Self::Awaited(receiver) = self {
            *self = Self::Known(receiver.await.ok().and_then(Notice::closed));
        }
        match self {
            Self::Known(closed) => closed.as_ref(),
            Self::Awaited(_) => None,
        }
    }
}

impl<W: RunType> RunHandle<W> {
    pub(crate) fn unchecked(shared: Arc<ClientShared>, run: RunId) -> Self {
        Self { shared, run, existing: false, known: false, before: None, closed: None, workflow: PhantomData }
    }

    pub(crate) fn known(shared: Arc<ClientShared>, run: RunId, existing: bool) -> Self {
        Self { shared, run, existing, known: true, before: None, closed: None, workflow: PhantomData }
    }

    pub(crate) fn existing(mut self, existing: bool) -> Self {
        self.existing = existing;
        self
    }

    /// The same handle, once its start was acknowledged, which was sent after the moment `before`.
    pub(crate) fn committed(mut self, before: Option<Moment>) -> Self {
        self.known = true;
        self.before = before.filter(|_| !self.existing);
        self
    }

    /// The same handle, of a run whose end a worker of this process reports.
    pub(crate) fn closed_by(mut self, closed: oneshot::Receiver<Notice>) -> Self {
        self.closed = Some(Arc::new(Mutex::new(ClosedHere::Awaited(closed))));
        self
    }

    /// What it shares with its client.
    pub(crate) fn shared(&self) -> &Arc<ClientShared> {
        &self.shared
    }

    /// The run's id, to store or to send to another process. See [`Client::handle`](crate::client::Client::handle) for an
    /// example.
    pub fn run_id(&self) -> RunId {
        self.run
    }

    /// Whether the start that returned this handle found an existing run with its key. See [`StartRun::key`] for an
    /// example.
    ///
    /// [`StartRun::key`]: crate::client::start::StartRun::key
    pub fn is_existing(&self) -> bool {
        self.existing
    }

    /// Sends a signal to the run when the returned builder is awaited. An acknowledged signal is durable, but not
    /// necessarily consumed. See [`RunHandle`] for an example.
    ///
    /// # Errors
    /// See [`SendSignal`].
    pub fn signal<T: Serialize + DeserializeOwned>(
        &self,
        signal: impl Into<NamedSignal<T>>,
        content: T,
    ) -> SendSignal {
        SendSignal::typed(Arc::clone(&self.shared), self.run, signal.into(), &content)
    }

    /// Sends a signal as [`RunHandle::signal`] does, for a client that knows the signal's name but not its type. See
    /// [`Client::start_named`](crate::client::Client::start_named) for an example.
    ///
    /// # Errors
    /// See [`Client::signal_named`](crate::client::Client::signal_named).
    pub fn signal_named(&self, signal: impl Into<Name>, content: impl Into<Payload>) -> SendSignal {
        SendSignal::named(Arc::clone(&self.shared), self.run, signal.into(), content.into())
    }

    /// A handle of the same run as a run of another type: of its workflow, if that was not known, or of
    /// [`Json`](crate::client::run_type::Json), to read its result as JSON. Whether it is a run of that workflow is checked when
    /// the handle is used. See [`Client::start_named`](crate::client::Client::start_named) for an example.
    pub fn as_type<R: RunType>(&self) -> RunHandle<R> {
        let known = self.known && R::WORKFLOW.is_none_or(|workflow| W::WORKFLOW == Some(workflow));
        let (shared, closed) = (Arc::clone(&self.shared), self.closed.clone());
        let (run, existing, before) = (self.run, self.existing, self.before);
        RunHandle { shared, run, existing, known, before, closed, workflow: PhantomData }
    }

    /// Asks the run to cancel itself when the returned builder is awaited: everything that its workflow awaits resolves to
    /// a cancellation, and the workflow may clean up before it returns. See [`RunHandle`] for an example.
    ///
    /// # Errors
    /// See [`CancelRun`].
    pub fn cancel(&self) -> CancelRun {
        CancelRun::new(Arc::clone(&self.shared), self.run)
    }

    /// Ends the run without asking its code when the returned builder is awaited. Compensations are skipped. See
    /// [`RunHandle`] for an example.
    ///
    /// # Errors
    /// See [`TerminateRun`].
    pub fn terminate(&self, reason: impl Into<String>) -> TerminateRun {
        TerminateRun::new(Arc::clone(&self.shared), self.run, reason.into())
    }

    /// Pauses the run when the returned builder is awaited: its code takes no step and no attempt begins, until it is
    /// [resumed](Self::resume). See [`PauseRun`] for an example.
    ///
    /// # Errors
    /// See [`PauseRun`].
    pub fn pause(&self) -> PauseRun {
        PauseRun::new(Arc::clone(&self.shared), self.run)
    }

    /// Ends the pause of the run when the returned builder is awaited, and has it tried again if it was set aside or has stalled;
    /// otherwise nothing happens. See [`ResumeRun`] for an example.
    ///
    /// # Errors
    /// See [`ResumeRun`].
    pub fn resume(&self) -> ResumeRun {
        ResumeRun::new(Arc::clone(&self.shared), self.run)
    }

    /// Has the next attempts of the run's activities begin at once when the returned builder is awaited, if they are in
    /// back-off; otherwise nothing happens. See [`RetryNow`] for an example.
    ///
    /// # Errors
    /// See [`RetryNow`].
    pub fn retry_now(&self) -> RetryNow {
        RetryNow::new(Arc::clone(&self.shared), self.run)
    }

    /// Waits until the run is over, and returns its workflow's output. It waits forever, even while the store does not
    /// answer, unless it has a [`timeout`](AwaitResult::timeout) or is dropped. See [`AwaitResult`] for an example.
    ///
    /// # Errors
    /// See [`AwaitResult`].
    pub fn result(&self) -> AwaitResult<W> {
        AwaitResult(Lazy::Built(Waiting { handle: self.clone(), timeout: None }))
    }

    /// Returns the workflow's output if the run is over, without waiting: `None` if it is not. It asks the store once.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows::payload::Payload;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// # let input = Payload::encode("water the plants").unwrap();
    /// let run = client.start_named("reminder", input).await?;
    /// assert!(run.try_result().await?.is_none()); // No worker executes this run.
    ///
    /// // What polls it may be another process, such as a web server that keeps no connection open.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`AwaitResult`] except [`Error::is_timeout`], and [`Error::is_unavailable`] if the store did not answer.
    pub async fn try_result(&self) -> Result<Option<W::Output>, Error> {
        let info = self.shared.describe_current(self.run).await?;
        self.check_workflow(&info.workflow)?;
        info.closed().map(|closed| self.read_result(closed)).transpose()
    }

    /// Describes the run: its status, what it waits on, and its outcome. See [`RunInfo`] for an example.
    ///
    /// # Errors
    /// * [`Error::is_unknown_run`]: there is no such run.
    /// * [`Error::is_unavailable`]: the store did not answer.
    pub async fn describe(&self) -> Result<RunInfo, Error> {
        self.shared.describe_with_history(self.run).await
    }

    /// Returns what the run is doing, or how it ended. See [`RunHandle`] for an example.
    ///
    /// # Errors
    /// * [`Error::is_unknown_run`]: there is no such run.
    /// * [`Error::is_unavailable`]: the store did not answer.
    pub async fn status(&self) -> Result<RunStatus, Error> {
        Ok(self.shared.describe_current(self.run).await?.status)
    }

    /// Returns the run's events in order; there are none until a worker has begun the run.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows::payload::Payload;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// # let input = Payload::encode("water the plants").unwrap();
    /// let run = client.start_named("reminder", input).await?;
    /// assert!(run.history().await?.is_empty()); // No worker has begun this run.
    ///
    /// let file = serde_json::to_string(&run.export().await?).unwrap();
    /// assert!(file.contains(&run.run_id().to_string()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// * [`Error::is_unknown_run`]: there is no such run.
    /// * [`Error::is_unavailable`]: the store did not answer.
    /// * Any other error: an event is damaged, or was written by a newer build. The error names the event.
    pub async fn history(&self) -> Result<Vec<HistoryEvent>, Error> {
        self.shared.history(self.run).await?.events()
    }

    /// Returns the run's history with its stored bytes. Keep it in a file, so that replay checks can test later code
    /// against it. See [`RunHandle::history`] for an example.
    ///
    /// # Errors
    /// * [`Error::is_unknown_run`]: there is no such run.
    /// * [`Error::is_unavailable`]: the store did not answer.
    pub async fn export(&self) -> Result<History, Error> {
        self.shared.history(self.run).await
    }

    async fn closed(&self) -> Result<ClosedRun, Error> {
        if let Some(here) = &self.closed
            && let Some(closed) = here.lock().await.wait().await
        {
            self.check_workflow(&closed.workflow)?;
            return Ok(closed.clone());
        }
        if !self.known {
            let info = self.shared.describe(self.run).await?;
            self.check_workflow(&info.workflow)?;
        }
        let topic = Topic { run: self.run, what: What::Closed };
        let notice = self.shared.watcher.wait(topic, self.before).await?;
        let closed =
            notice.closed().ok_or_else(|| StoreError::corrupt("another notice than was asked for"))?;
        self.check_workflow(&closed.workflow)?;
        Ok(closed)
    }

    fn check_workflow(&self, found: &str) -> Result<(), Error> {
        match W::WORKFLOW {
            Some(expected) if found != expected => Err(Error::invalid(format!(
                "run {} is a run of workflow `{found}`, but the handle is for workflow `{expected}`; create the \
                 handle with the type of `{found}`",
                self.run
            ))),
            Some(_) | None => Ok(()),
        }
    }

    fn read_result(&self, closed: &ClosedRun) -> Result<W::Output, Error> {
        match terminal_event(closed)? {
            Event::RunCompleted { result } => W::decode(&result).map_err(|error| {
                let what = format!(
                    "run {} of workflow `{}` completed, but its result is not of the workflow's output type",
                    self.run, closed.workflow
                );
                Error::payload(what, error)
            }),
            Event::RunFailed { failure, uncompensated } => {
                Err(Error::run_failed(self.run, failure, uncompensated))
            }
            Event::RunCancelled { reason, uncompensated } => {
                Err(Error::run_cancelled(self.run, reason, uncompensated))
            }
            Event::RunTimedOut { deadline, grace_until, uncompensated, skipped } => {
                Err(Error::run_timed_out(self.run, deadline, grace_until, uncompensated, skipped))
            }
            Event::RunTerminated { reason, skipped, .. } => {
                Err(Error::run_terminated(self.run, reason, skipped))
            }
            other => {
                let reason = format!("run {} is over, but its last event is `{}`", self.run, other.name());
                Err(StoreError::corrupt(reason).into())
            }
        }
    }
}

impl<W: RunType> Clone for RunHandle<W> {
    fn clone(&self) -> Self {
        let (shared, closed) = (Arc::clone(&self.shared), self.closed.clone());
        Self { shared, closed, workflow: PhantomData, ..*self }
    }
}

impl<W: RunType> fmt::Debug for RunHandle<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunHandle")
            .field("workflow", &W::WORKFLOW)
            .field("run", &self.run)
            .field("existing", &self.existing)
            .finish_non_exhaustive()
    }
}

/// Waits for a run's result: await it.
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows::payload::Payload;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let client = Client::new(pgworkflows::MemoryStore::new());
/// # let input = Payload::encode("water the plants").unwrap();
/// let run = client.start_named("reminder", input).await?;
/// let error = run.result().timeout(Duration::from_millis(20)).await.unwrap_err();
/// assert!(error.is_timeout()); // No worker executes this run, so it never ends.
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// * [`Error::is_run_failed`]: the workflow returned an error. [`Error::failure`] has it, and [`Error::uncompensated`]
///   the compensations that failed as well.
/// * [`Error::is_run_cancelled`], [`Error::is_run_terminated`]: the run ended in this way. [`Error::reason`] says why.
/// * [`Error::is_timeout`]: the timeout elapsed before the run was over. The error says what the run waits on.
/// * [`Error::is_payload`]: the result is not of the workflow's output type.
/// * [`Error::is_unknown_run`]: there is no such run, for example because it was started in a transaction that was not
///   committed.
/// * [`Error::is_invalid`]: the run is of another workflow.
#[must_use = "a wait does nothing until it is awaited"]
pub struct AwaitResult<W: RunType>(Lazy<Waiting<W>>);

/// A wait with its options.
struct Waiting<W: RunType> {
    handle: RunHandle<W>,
    timeout: Option<Duration>,
}

impl<W: RunType> AwaitResult<W> {
    /// Stops waiting after this time, with an error that [`Error::is_timeout`] recognises; the run continues. There is no
    /// timeout by default. See [`AwaitResult`] for an example.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.0.built().timeout = Some(time);
        self
    }
}

future!(AwaitResult<W: RunType>, Result<W::Output, Error>);

impl<W: RunType> Waiting<W> {
    async fn closed(&self) -> Result<ClosedRun, Error> {
        let Some(time) = self.timeout else { return self.handle.closed().await };
        let expired = self.handle.shared.host.sleep(time);
        tokio::select! {
            biased;
            closed = self.handle.closed() => closed,
            () = expired => Err(Error::timed_out(self.handle.run, time, self.waiting_on().await)),
        }
    }

    /// What the run waits on, if the store answers soon.
    async fn waiting_on(&self) -> Option<String> {
        let shared = &self.handle.shared;
        tokio::select! {
            biased;
            info = shared.describe_current(self.handle.run) => info.ok()?.waiting_on,
            () = shared.host.sleep(limits::LAST_WORDS_WAIT) => None,
        }
    }
}

impl<W: RunType> Begin for Waiting<W> {
    type Output = Result<W::Output, Error>;

    fn shared(&self) -> &Arc<ClientShared> {
        self.handle.shared()
    }

    fn begin(self) -> BoxFuture<'static, Self::Output> {
        Box::pin(async move {
            let closed = self.closed().await?;
            self.handle.read_result(&closed)
        })
    }
}

impl<W: RunType> fmt::Debug for AwaitResult<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<W: RunType> fmt::Debug for Waiting<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitResult").field("handle", &self.handle).field("timeout", &self.timeout).finish()
    }
}
