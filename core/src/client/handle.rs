//! A handle of one run: tell it something, ask about it, wait for its result. It must not know how any of this
//! reaches the run.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, Shared};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::client::call::ClientShared;
use crate::client::closed::terminal_event;
use crate::client::info::{RunInfo, RunStatus};
use crate::client::message::{CancelRun, SendSignal, TerminateRun};
use crate::client::run_type::RunType;
use crate::data::id::RunId;
use crate::data::limits;
use crate::error::Error;
use crate::history::History;
use crate::history::event::HistoryEvent;
use crate::log::event::Event;
use crate::store::append::ClosedRun;
use crate::store::error::StoreError;
use crate::store::watch::{Notice, Topic, What};
use crate::workflow::signal::Signal;

/// A run of workflow `W`, or of any ([`Untyped`](crate::client::run_type::Untyped)), wherever it is executed. Cheap to clone, and as good in another process: keep the
/// [`RunId`] and use [`Client::handle`](crate::client::Client::handle).
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows::{Error, RunHandle};
/// async fn outcome<W: Workflow<Output = String>>(run: RunHandle<W>) -> Result<String, Error> {
///     match run.result().timeout(Duration::from_secs(5)).await {
///         Err(error) if error.is_timeout() => Ok(format!("{:?}", run.status().await?)),
///         Err(error) if error.is_run_failed() => Ok(format!("failed: {:?}", error.failure())),
///         other => other,
///     }
/// }
/// ```
pub struct RunHandle<W: RunType> {
    shared: Arc<ClientShared>,
    run: RunId,
    existing: bool,
    /// Whether the store is known to hold this run, of this workflow. Otherwise that is checked before its result
    /// is waited for, for it would never come.
    known: bool,
    /// Told by this process's own worker, if the run began here and does not leave its memory.
    closed: Option<Shared<oneshot::Receiver<Notice>>>,
    workflow: PhantomData<fn() -> W>,
}

impl<W: RunType> RunHandle<W> {
    pub(crate) fn unchecked(shared: Arc<ClientShared>, run: RunId) -> Self {
        Self { shared, run, existing: false, known: false, closed: None, workflow: PhantomData }
    }

    pub(crate) fn known(shared: Arc<ClientShared>, run: RunId, existing: bool) -> Self {
        Self { shared, run, existing, known: true, closed: None, workflow: PhantomData }
    }

    pub(crate) fn existing(mut self, existing: bool) -> Self {
        self.existing = existing;
        self
    }

    /// The same handle, after the start that made it was acknowledged.
    pub(crate) fn committed(mut self) -> Self {
        self.known = true;
        self
    }

    /// The same handle of a run that began in this process, whose worker tells of its end.
    pub(crate) fn told(mut self, closed: oneshot::Receiver<Notice>) -> Self {
        self.closed = Some(closed.shared());
        self
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.run
    }

    /// Whether the start that returned this handle found a run with its key, and started none.
    pub fn is_existing(&self) -> bool {
        self.existing
    }

    /// Sends a signal to the run, when the returned builder is awaited. Acknowledged means durable, not consumed.
    ///
    /// # Errors
    /// See [`SendSignal`].
    pub fn signal<T: Serialize + DeserializeOwned>(&self, signal: Signal<T>, content: T) -> SendSignal {
        SendSignal::typed(Arc::clone(&self.shared), self.run, signal, &content)
    }

    /// Asks the run to cancel itself, when the returned builder is awaited: all that its workflow waits for
    /// resolves to a cancellation, and the workflow may clean up before it returns.
    ///
    /// # Errors
    /// See [`CancelRun`].
    pub fn cancel(&self) -> CancelRun {
        CancelRun::new(Arc::clone(&self.shared), self.run)
    }

    /// Ends the run without asking its code, when the returned builder is awaited. Compensations are left out.
    ///
    /// # Errors
    /// See [`TerminateRun`].
    pub fn terminate(&self, reason: impl Into<String>) -> TerminateRun {
        TerminateRun::new(Arc::clone(&self.shared), self.run, reason.into())
    }

    /// Waits until the run is over, and returns what its workflow returned. It waits for ever unless it is given
    /// a [`timeout`](AwaitResult::timeout) or dropped; a store that goes away is waited for as well.
    ///
    /// # Errors
    /// See [`AwaitResult`].
    pub fn result(&self) -> AwaitResult<W> {
        AwaitResult { handle: self.clone(), timeout: None }
    }

    /// What there is to say of the run.
    ///
    /// # Errors
    /// [`Error::is_unknown_run`], [`Error::is_unavailable`].
    pub async fn describe(&self) -> Result<RunInfo, Error> {
        self.shared.describe(self.run).await
    }

    /// What the run is doing, or how it ended.
    ///
    /// # Errors
    /// [`Error::is_unknown_run`], [`Error::is_unavailable`].
    pub async fn status(&self) -> Result<RunStatus, Error> {
        Ok(self.describe().await?.status)
    }

    /// All that happened to the run, in order. Empty until a worker has begun it.
    ///
    /// # Errors
    /// [`Error::is_unknown_run`], [`Error::is_unavailable`].
    pub async fn history(&self) -> Result<Vec<HistoryEvent>, Error> {
        History::new(self.shared.history(self.run).await?).events()
    }

    /// The run's history with the bytes that the store has, to keep it in a file: replay checks hold today's code
    /// against it.
    ///
    /// # Errors
    /// [`Error::is_unknown_run`], [`Error::is_unavailable`].
    pub async fn export(&self) -> Result<History, Error> {
        Ok(History::new(self.shared.history(self.run).await?))
    }

    async fn closed(&self) -> Result<ClosedRun, Error> {
        if let Some(told) = &self.closed
            && let Ok(Notice::Closed(closed)) = told.clone().await
        {
            return Ok(closed);
        }
        if !self.known {
            let info = self.shared.describe(self.run).await?;
            self.check_workflow(&info.workflow)?;
        }
        let topic = Topic { run: self.run, what: What::Closed };
        let Notice::Closed(closed) = self.shared.watcher.wait(topic).await?;
        self.check_workflow(&closed.workflow)?;
        Ok(closed)
    }

    fn check_workflow(&self, found: &str) -> Result<(), Error> {
        match W::WORKFLOW {
            Some(expected) if found != expected => Err(Error::invalid(format!(
                "run {} is a run of workflow `{found}`, and the handle is one of workflow `{expected}`; make the \
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
            Event::RunTerminated { reason, skipped, .. } => {
                Err(Error::run_terminated(self.run, reason, skipped))
            }
            other => {
                let reason = format!("run {} is over, and its last event is `{}`", self.run, other.name());
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

/// A wait for a run's result.
///
/// # Errors
/// * [`Error::is_run_failed`]: the workflow returned an error; [`Error::failure`] is what it was, and
///   [`Error::uncompensated`] which compensations failed as well.
/// * [`Error::is_run_cancelled`], [`Error::is_run_terminated`]: how else it ended; [`Error::reason`] says why.
/// * [`Error::is_timeout`]: the timeout is over, and the run is not.
/// * [`Error::is_payload`]: the result is of another type than this workflow's output.
/// * [`Error::is_unknown_run`]: there is no such run. So it is for a start within a transaction that was not
///   committed.
/// * [`Error::is_invalid`]: it is a run of another workflow.
#[must_use = "a result is waited for when it is awaited"]
pub struct AwaitResult<W: RunType> {
    handle: RunHandle<W>,
    timeout: Option<Duration>,
}

impl<W: RunType> AwaitResult<W> {
    /// Gives up after that time, with an error that [`Error::is_timeout`] tells apart. The run goes on.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    async fn closed(&self) -> Result<ClosedRun, Error> {
        let Some(time) = self.timeout else { return self.handle.closed().await };
        let expired = self.handle.shared.host.sleep(time);
        tokio::select! {
            biased;
            closed = self.handle.closed() => closed,
            () = expired => Err(Error::timed_out(self.handle.run, time, self.waiting_on().await)),
        }
    }

    /// What the run waits on, if the store says it soon.
    async fn waiting_on(&self) -> Option<String> {
        let shared = &self.handle.shared;
        tokio::select! {
            biased;
            info = shared.describe(self.handle.run) => info.ok()?.waiting_on,
            () = shared.host.sleep(limits::LAST_WORDS_WAIT) => None,
        }
    }
}

impl<W: RunType> IntoFuture for AwaitResult<W> {
    type Output = Result<W::Output, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let closed = self.closed().await?;
            self.handle.read_result(&closed)
        })
    }
}

impl<W: RunType> fmt::Debug for AwaitResult<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitResult").field("handle", &self.handle).field("timeout", &self.timeout).finish()
    }
}
