//! A run of an environment, and how it is started, both by the real client. It must not drive the world itself.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::LocalBoxFuture;
use pgworkflows_core::activity::RetryPolicy;
use pgworkflows_core::client::{RunInfo, StartRun};
use pgworkflows_core::history::HistoryEvent;
use pgworkflows_core::id::{Name, OptionalKey};
use pgworkflows_core::{NamedSignal, RunHandle, RunId, Update, View, Workflow};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::TestEnv;
use crate::error::Error;

impl TestEnv {
    /// Starts a run, when the returned builder is awaited.
    ///
    /// # Errors
    /// Awaiting the builder returns the errors of [`Client::start`](pgworkflows_core::Client::start), and
    /// [`Error::is_invalid`] if the workflow is not registered with this environment.
    pub fn start<W: Workflow>(&self, input: W::Input) -> TestStart<W> {
        TestStart { env: self.clone(), start: self.world.client().start::<W>(input) }
    }

    /// A run that was started in another way, such as by a handler that uses [`TestEnv::client`].
    pub fn run<W: Workflow>(&self, run: RunId) -> TestRun<W> {
        TestRun { env: self.clone(), handle: self.world.client().handle(run) }
    }
}

/// A start, made by [`TestEnv::start`]: the run exists once it has been awaited.
#[must_use = "a start does nothing until it is awaited"]
pub struct TestStart<W: Workflow> {
    env: TestEnv,
    start: StartRun<W>,
}

impl<W: Workflow> TestStart<W> {
    /// See [`StartRun::with_signal`].
    pub fn with_signal<T: Serialize + DeserializeOwned>(
        mut self,
        signal: impl Into<NamedSignal<T>>,
        content: T,
    ) -> Self {
        self.start = self.start.with_signal(signal, content);
        self
    }

    /// See [`StartRun::key`].
    pub fn key(mut self, key: impl Into<OptionalKey>) -> Self {
        self.start = self.start.key(key);
        self
    }

    /// See [`StartRun::key_only`].
    pub fn key_only(mut self, key: impl Into<OptionalKey>) -> Self {
        self.start = self.start.key_only(key);
        self
    }

    /// See [`StartRun::key_with_digest`].
    pub fn key_with_digest(mut self, key: impl Into<OptionalKey>, digest: [u8; 32]) -> Self {
        self.start = self.start.key_with_digest(key, digest);
        self
    }

    /// See [`StartRun::attribute`].
    pub fn attribute(mut self, name: impl Into<Name>, value: impl Into<String>) -> Self {
        self.start = self.start.attribute(name, value);
        self
    }

    /// See [`StartRun::delay`].
    pub fn delay(mut self, delay: Duration) -> Self {
        self.start = self.start.delay(delay);
        self
    }

    /// See [`StartRun::start_at`].
    pub fn start_at(mut self, moment: DateTime<Utc>) -> Self {
        self.start = self.start.start_at(moment);
        self
    }

    /// See [`StartRun::deadline`].
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.start = self.start.deadline(limit);
        self
    }

    /// See [`StartRun::grace`].
    pub fn grace(mut self, limit: Duration) -> Self {
        self.start = self.start.grace(limit);
        self
    }

    /// See [`StartRun::retry`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.start = self.start.retry(policy);
        self
    }
}

impl<W: Workflow> IntoFuture for TestStart<W> {
    type Output = Result<TestRun<W>, Error>;
    type IntoFuture = LocalBoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { env, start } = self;
        Box::pin(async move {
            if !env.world.definitions().knows_workflow(W::NAME) {
                return Err(Error::invalid(format!(
                    "workflow `{}` is not registered, so its run would never begin: add `.workflow::<…>()` for it to \
                     the builder",
                    W::NAME
                )));
            }
            let handle = env.drive(start).await??;
            Ok(TestRun { env, handle })
        })
    }
}

impl<W: Workflow> fmt::Debug for TestStart<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.start.fmt(f)
    }
}

/// A run of a [`TestEnv`].
pub struct TestRun<W: Workflow> {
    pub(super) env: TestEnv,
    handle: RunHandle<W>,
}

impl<W: Workflow> TestRun<W> {
    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.handle.run_id()
    }

    /// The run's environment.
    pub fn env(&self) -> &TestEnv {
        &self.env
    }

    /// The run's handle, as in production. Await its futures within [`TestEnv::drive`].
    pub fn handle(&self) -> &RunHandle<W> {
        &self.handle
    }

    /// Sends a signal. When the future is ready, the signal is acknowledged, and its immediate consequences have
    /// happened.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::signal`].
    pub async fn signal<T: Serialize + DeserializeOwned>(
        &self,
        signal: impl Into<NamedSignal<T>>,
        content: T,
    ) -> Result<(), Error> {
        Ok(self.env.drive(self.handle.signal(signal, content)).await??)
    }

    /// Sends an update, and returns its answer. It is driven until then, so give it a
    /// [`timeout`](pgworkflows_core::client::UpdateRun::timeout) by [`TestRun::handle`] if the run may not answer.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::update`].
    pub async fn update<Q, A>(&self, update: Update<Q, A>, request: Q) -> Result<A, Error>
    where
        Q: Serialize + DeserializeOwned,
        A: DeserializeOwned + 'static,
    {
        self.env.drive(self.handle.update(update, request)).await?.map_err(Into::into)
    }

    /// The newest value that the run has published of a view; `None` if it has not published any.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::view`].
    pub async fn view<T: DeserializeOwned>(&self, view: View<T>) -> Result<Option<T>, Error> {
        Ok(self.env.drive(self.handle.view(view)).await??)
    }

    /// Asks the run to cancel itself.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::cancel`].
    pub async fn cancel(&self) -> Result<(), Error> {
        Ok(self.env.drive(self.handle.cancel()).await??)
    }

    /// Ends the run at once, without its code.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::terminate`].
    pub async fn terminate(&self, reason: impl Into<String>) -> Result<(), Error> {
        Ok(self.env.drive(self.handle.terminate(reason)).await??)
    }

    /// Pauses the run.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::pause`].
    pub async fn pause(&self) -> Result<(), Error> {
        Ok(self.env.drive(self.handle.pause()).await??)
    }

    /// Ends the pause of the run.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::resume`].
    pub async fn resume(&self) -> Result<(), Error> {
        Ok(self.env.drive(self.handle.resume()).await??)
    }

    /// Has the next attempts of its activities begin at once, if they are in back-off.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::retry_now`].
    pub async fn retry_now(&self) -> Result<(), Error> {
        Ok(self.env.drive(self.handle.retry_now()).await??)
    }

    /// Waits until the run is over, and returns the workflow's output. Time jumps to the next deadline whenever nothing
    /// else happens.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::result`], and [`Error::is_stuck`] if the run can never end: it waits for a
    /// signal that nobody sends, is stalled, or scheduled an activity that is neither registered nor mocked, or whose
    /// activity queue no worker serves (`.worker(|worker| worker.activity_queue(…))` of the builder does). The error
    /// says what every open run waits for.
    pub async fn result(&self) -> Result<W::Output, Error> {
        let what = || format!("run {} of workflow `{}` has no result", self.run_id(), W::NAME);
        // Time does not solve that.
        let is_hopeless = || self.env.world.waits_in_vain(self.run_id());
        Ok(self.env.wait(self.handle.result(), is_hopeless, what).await??)
    }

    /// Describes the run.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::describe`].
    pub async fn describe(&self) -> Result<RunInfo, Error> {
        Ok(self.env.drive(self.handle.describe()).await??)
    }

    /// The events of the run's history, in order.
    ///
    /// # Errors
    /// Returns the errors of [`RunHandle::history`].
    pub async fn events(&self) -> Result<Vec<HistoryEvent>, Error> {
        Ok(self.env.drive(self.handle.history()).await??)
    }
}

impl<W: Workflow> Clone for TestRun<W> {
    fn clone(&self) -> Self {
        Self { env: self.env.clone(), handle: self.handle.clone() }
    }
}

impl<W: Workflow> fmt::Debug for TestRun<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRun").field("workflow", &W::NAME).field("run", &self.run_id()).finish()
    }
}
