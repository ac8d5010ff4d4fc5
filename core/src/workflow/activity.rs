//! Activities: what users implement for side effects. It must not know how or where they are executed.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::current_executor::CurrentExecutor;
use super::error::{ActivityError, ActivityResult};
use super::own_task::OwnTask;
use crate::data::cancellation::Cancellation;
use crate::data::id::{CommandId, RunId};
use crate::data::options::ActivityOptions;
use crate::data::time::Timestamp;
use crate::error::Error;
use crate::host::{Host, StoreClock};
use crate::observe::metrics::Metrics;
use crate::observe::spans::Propagator;
use crate::store::Store;
use crate::store::tasks::queue_of;

/// Code with side effects that a run schedules. It is executed at least once; its outcome is recorded exactly once.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// pub struct SendWelcome;
///
/// #[async_trait]
/// impl Activity for SendWelcome {
///     const NAME: &'static str = "send-welcome";
///     type Input = String;
///     type Output = ();
///
///     async fn execute(&self, ctx: ActivityContext, email: String) -> ActivityResult<()> {
///         println!("to {email}, with idempotency key {}", ctx.idempotency_key());
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Activity: Send + Sync + 'static {
    /// The stored name, unique among a worker's activities: 1 to 255 bytes without control characters. Open runs refer
    /// to it, so never change it.
    const NAME: &'static str;
    /// The input of a call, stored as a [`Payload`](crate::data::payload::Payload).
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// The result of a call, stored as a [`Payload`](crate::data::payload::Payload).
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The retry policy and the timeouts of a call that sets none. The default is one attempt without
    /// a timeout. They are read when the activity is scheduled, so a change does not affect activities that are
    /// already scheduled.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// # struct Charge;
    /// # #[async_trait]
    /// # impl Activity for Charge {
    /// #     const NAME: &'static str = "charge";
    /// #     type Input = ();
    /// #     type Output = ();
    /// fn options() -> ActivityOptions {
    ///     let retry = RetryPolicy::exponential().max_attempts(5);
    ///     ActivityOptions::default().retry(retry).start_to_close(Duration::from_secs(30))
    /// }
    /// #     async fn execute(&self, _: ActivityContext, _: ()) -> ActivityResult<()> { Ok(()) }
    /// # }
    /// ```
    fn options() -> ActivityOptions {
        ActivityOptions::default()
    }

    /// Makes one attempt. It may be executed again if its process dies before the outcome is recorded, so
    /// pass [`ActivityContext::idempotency_key`] on to the services that it calls.
    ///
    /// # Errors
    /// An error fails the attempt, and so does a panic. The retry policy decides whether another attempt follows.
    async fn execute(&self, ctx: ActivityContext, input: Self::Input) -> ActivityResult<Self::Output>;

    /// Checks that a worker of this store can execute the activity, when the worker is built. By default any can.
    ///
    /// # Errors
    /// Returns an error for people, with which the worker is refused.
    fn check_store(&self, _store: &dyn Store) -> Result<(), Error> {
        Ok(())
    }
}

/// What an attempt of an activity knows about itself.
///
/// ```
/// # use pgworkflows::prelude::*;
/// async fn poll_until_ready(ctx: ActivityContext) -> ActivityResult<()> {
///     let url = format!("https://example.com/jobs/{}", ctx.idempotency_key());
///     println!("attempt {} of call {} of run {}: {url}", ctx.attempt(), ctx.call(), ctx.run_id());
///     while ctx.now() - ctx.scheduled_at() < chrono::Duration::hours(1) {
///         if ctx.cancellation().is_cancelled() {
///             return Err(ActivityError::new("stopped", "the result is no longer wanted"));
///         }
///         ctx.sleep(Duration::from_secs(5)).await;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ActivityContext {
    pub(crate) run: RunId,
    pub(crate) command: CommandId,
    pub(crate) attempt: u32,
    pub(crate) scheduled_at: Timestamp,
    pub(crate) cancellation: Cancellation,
    pub(crate) task: Option<OwnTask>,
    pub(crate) services: Arc<Services>,
    /// The executor of the process, while it has a lease.
    pub(crate) executor: CurrentExecutor,
}

/// What all attempts of a worker share.
pub(crate) struct Services {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) clock: Arc<StoreClock>,
    pub(crate) store: Arc<dyn Store>,
    /// The worker's name, for its log.
    pub(crate) worker: String,
    pub(crate) metrics: Metrics,
    pub(crate) propagator: Propagator,
    pub(crate) payload_bytes_max: usize,
    /// What the client of the attempts is made of, once one has asked for it. This room does not know clients.
    pub(crate) client: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Services {
    pub(crate) fn of_tests() -> Self {
        Self {
            host: Arc::new(crate::host::SystemHost::current()),
            clock: Arc::default(),
            store: Arc::new(crate::client::tests::fake::FakeStore::default()),
            worker: "worker".to_owned(),
            metrics: Metrics::default(),
            propagator: None,
            payload_bytes_max: crate::data::limits::PAYLOAD_BYTES_MAX,
            client: OnceLock::new(),
        }
    }
}

impl ActivityContext {
    /// The id of the run that scheduled the activity: see the example [above](ActivityContext).
    pub fn run_id(&self) -> RunId {
        self.run
    }

    /// The number of the durable call within its run, from 1 on: see the example [above](ActivityContext).
    pub fn call(&self) -> CommandId {
        self.command
    }

    /// The number of the attempt, from 1 on. An attempt whose process died is repeated under its number. See the example
    /// [above](ActivityContext).
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The time at which the run scheduled the activity, by the store's clock: see the example [above](ActivityContext).
    pub fn scheduled_at(&self) -> DateTime<Utc> {
        self.scheduled_at.into()
    }

    /// The time by the store's clock, as this worker knows it: never ahead of the store. In a test it is the test's
    /// time, so that an activity which takes the time from here can be tested without waiting. See the example
    /// [above](ActivityContext).
    pub fn now(&self) -> DateTime<Utc> {
        self.services.clock.now(&*self.services.host).unwrap_or(self.scheduled_at).into()
    }

    /// Waits for a time by the worker's own clock. The wait is not durable: a crash repeats the whole attempt. In a
    /// test it takes no real time. For durable waits there is
    /// [`Context::sleep`](crate::workflow::context::Context::sleep). See the example [above](ActivityContext).
    pub fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.services.host.sleep(time)
    }

    /// A text that is the same for all attempts of this call and differs from that of every other call. Pass it to
    /// services that deduplicate requests. See the example [above](ActivityContext).
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}", self.run, self.command)
    }

    /// The name of an activity queue that this worker alone serves, so that a workflow can send further activities to where
    /// this one was executed: to the files that it left there, or to what it loaded into memory. They are executed in the slots
    /// of the first activity queue that the worker serves, and have to be registered there.
    ///
    /// The queue ends with the worker, or with its lease if the worker loses that: activities that were sent there and have
    /// not ended fail with the kind `worker-lost`, whatever their retry policy says, and so do those that are sent there
    /// afterwards. The workflow can then begin anew, with another worker.
    ///
    /// ```
    /// # use pgworkflows::MemoryStore;
    /// use pgworkflows::prelude::*;
    ///
    /// struct Download;
    ///
    /// #[async_trait]
    /// impl Activity for Download {
    ///     const NAME: &'static str = "download";
    ///     type Input = String;
    ///     type Output = String;
    ///
    ///     async fn execute(&self, ctx: ActivityContext, film: String) -> ActivityResult<String> {
    ///         // … to a file of this machine.
    ///         ctx.worker_queue().await
    ///     }
    /// }
    ///
    /// struct Render;
    ///
    /// #[async_trait]
    /// impl Activity for Render {
    ///     const NAME: &'static str = "render";
    ///     type Input = String;
    ///     type Output = u64;
    ///
    ///     async fn execute(&self, _: ActivityContext, film: String) -> ActivityResult<u64> {
    ///         Ok(film.len() as u64)
    ///     }
    /// }
    ///
    /// struct Film;
    ///
    /// impl Workflow for Film {
    ///     const NAME: &'static str = "film";
    ///     type Input = String;
    ///     type Output = u64;
    ///
    ///     async fn run(ctx: Context, film: String) -> WorkflowResult<u64> {
    ///         for _ in 0..3 {
    ///             let worker = ctx.activity::<Download>(film.clone()).await?;
    ///             match ctx.activity::<Render>(film.clone()).queue(worker).await {
    ///                 Err(lost) if lost.failure().is_some_and(|failure| failure.is("worker-lost")) => {}
    ///                 rendered => return rendered,
    ///             }
    ///         }
    ///         Err(WorkflowError::new("unlucky", "three workers died"))
    ///     }
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = MemoryStore::new();
    /// let worker = Worker::builder(store.clone()).workflow::<Film>().activity(Download).activity(Render).build()?;
    /// let client = Client::new(store);
    /// let film = async { client.start::<Film>("dawn".to_owned()).await?.result().await };
    /// let rendered = tokio::select! {
    ///     rendered = film => rendered?,
    ///     ended = worker.run() => return ended,
    /// };
    /// assert_eq!(rendered, 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// While the worker has no lease for it, because it has just started or the store does not answer, this waits.
    ///
    /// # Errors
    /// The worker has ended.
    pub async fn worker_queue(&self) -> ActivityResult<String> {
        match self.executor.wait().await {
            Some(executor) => Ok(queue_of(executor).to_string()),
            None => Err(ActivityError::new("worker-ended", "the worker has ended, and with it its queue")),
        }
    }

    /// Tells the attempt that its outcome is no longer wanted: after a timeout, when the run cancels the activity, when
    /// the worker loses its lease, and when its shutdown grace is over. An attempt that has not ended 10 seconds
    /// later is dropped. See the example [above](ActivityContext).
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// The task that the attempt is, if it is one: for activities that record their outcome together with their effects.
    pub fn task(&self) -> Option<&OwnTask> {
        self.task.as_ref()
    }
}
