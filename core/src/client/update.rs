//! Updates: a request to an open run, and the wait for its answer. It must not know how a run answers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::call::{CallKeys, ClientShared};
use crate::client::handle::RunHandle;
use crate::client::lazy::{Begin, Lazy};
use crate::client::message::{keyed_by, random_message, submission};
use crate::client::request::Prepared;
use crate::client::run_type::RunType;
use crate::data::id::{MessageId, RunId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::{Payload, PayloadError};
use crate::error::Error;
use crate::guard::caught;
use crate::log::message::Message;
use crate::log::reply::Reply;
use crate::log::wire::reply::decode_reply;
use crate::store::error::StoreError;
use crate::store::inbox::Submitted;
use crate::store::watch::{Notice, Topic, Watch, What};
use crate::workflow::registry::check_name;
use crate::workflow::update::Update;

impl<W: RunType> RunHandle<W> {
    /// Sends an update to the run when the returned builder is awaited, and waits for its answer. See [`UpdateRun`] for an
    /// example.
    ///
    /// # Errors
    /// See [`UpdateRun`].
    pub fn update<Q, A>(&self, update: Update<Q, A>, request: Q) -> UpdateRun<A>
    where
        Q: Serialize + DeserializeOwned,
        A: DeserializeOwned + 'static,
    {
        UpdateRun::new(Arc::clone(self.shared()), self.run_id(), update, &request)
    }

    /// Sends an update as [`RunHandle::update`] does, for a client that knows the update's name but not its types: the answer is
    /// JSON. The update's check is carried out by the run alone.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// use serde_json::json;
    ///
    /// #[workflow(name = "counter")]
    /// async fn counter(ctx: Context, sum: u64) -> WorkflowResult<()> {
    ///     let (number, answer) = ctx.wait_for_update(Update::<u64, u64>::new("add")).await?;
    ///     answer.send(sum + number);
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<counter>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// let run = client.start_named("counter", json!(40)).await?;
    /// assert_eq!(run.update_named("add", json!(2)).key("click:7").await?, json!(42));
    /// # Ok(())
    /// # };
    /// # let mut result = Ok(());
    /// # worker.run_until(async { result = talk.await }).await?;
    /// # result
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`UpdateRun`]. Returns an error that [`Error::is_payload`] recognises if the request is not valid CBOR or JSON. If it is
    /// not of the update's type, the run refuses it; a run whose code has not named the update yet stalls when it takes it.
    pub fn update_named(
        &self,
        update: impl Into<Name>,
        request: impl Into<Payload>,
    ) -> UpdateRun<serde_json::Value> {
        UpdateRun::named(Arc::clone(self.shared()), self.run_id(), update.into(), request.into())
    }
}

/// Sends an update, and waits for its answer: await it.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// const BOOK: Update<u32, bool> = Update::new("book").check(|seats| match seats {
///     0 => Err("a booking of no seats".into()),
///     _ => Ok(()),
/// });
///
/// #[workflow(name = "flight")]
/// async fn flight(ctx: Context, mut free: u32) -> WorkflowResult<()> {
///     while free > 0 {
///         let (seats, answer) = ctx.wait_for_update(BOOK).await?;
///         let booked = seats <= free;
///         free -= if booked { seats } else { 0 };
///         answer.send(booked);
///     }
///     Ok(())
/// }
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// # let store = pgworkflows::MemoryStore::new();
/// # let worker = Worker::builder(store.clone()).workflow::<flight>().build()?;
/// # let client = Client::new(store);
/// # let talk = async {
/// let run = client.start::<flight>(100).await?;
/// let booked = run.update(BOOK, 2).key("booking:7").timeout(Duration::from_secs(5)).await?;
/// assert!(booked);
/// // With the same key, it is the same update: nothing more is booked.
/// assert!(run.update(BOOK, 2).key("booking:7").await?);
/// assert!(run.update(BOOK, 0).await.unwrap_err().is_update_refused());
/// # Ok(())
/// # };
/// # let mut result = Ok(());
/// # worker.run_until(async { result = talk.await }).await?;
/// # result
/// # }
/// ```
///
/// The request and the answer are in the run's history: a request that was accepted reaches the workflow once, whatever
/// crashes, and its reply is kept for as long as the run. A wait that ends by its timeout, or is dropped, withdraws nothing. To
/// ask for the answer again, from any process, send the update again with its key.
///
/// # Errors
/// * [`Error::is_update_refused`]: the update's check refused the request. The run was told nothing. The refusal is the reply
///   for this key.
/// * [`Error::is_update_dropped`]: the run ended before it answered, or dropped the update. It may have acted on it.
/// * [`Error::is_timeout`]: there is no answer yet. The error says what the run waits on, for example that it has stalled.
/// * [`Error::is_run_over`]: the run is over, or only its compensations are left. It was told nothing.
/// * [`Error::is_too_many_updates`]: 10,000 updates of the run have no answer yet, or 32 MiB of their requests. The run was told
///   nothing. Ask again later, with another key.
/// * [`Error::is_invalid`]: the name or key is empty, longer than 255 bytes or has control characters, or the request is larger
///   than the client's limit (2 MiB by default). The store was not asked.
/// * [`Error::is_payload`]: the request cannot be encoded, or its own type cannot read it back; or the answer is not of the
///   update's type.
/// * [`Error::is_unknown_run`]: there is no such run.
/// * [`Error::is_unavailable`]: it is not known whether the update was sent. It is safe to repeat an update with a key.
#[must_use = "an update is sent when it is awaited"]
pub struct UpdateRun<A: DeserializeOwned + 'static>(Lazy<Asking<A>>);

/// An update with its options.
struct Asking<A> {
    shared: Arc<ClientShared>,
    run: RunId,
    update: Name,
    request: Result<Payload, Error>,
    key: Option<String>,
    timeout: Option<Duration>,
    /// Reads the answer.
    decode: fn(&Payload) -> Result<A, PayloadError>,
}

impl<A: DeserializeOwned + 'static> UpdateRun<A> {
    pub(super) fn new<Q: Serialize + DeserializeOwned>(
        shared: Arc<ClientShared>,
        run: RunId,
        update: Update<Q, A>,
        request: &Q,
    ) -> Self {
        let name = Name::from_static(update.name());
        let key = shared.call.as_ref().map(CallKeys::next);
        let request = check(run, update, request)
            .and_then(|()| shared.encode(format_args!("the request of update `{name}`"), request));
        Self(Lazy::Built(Asking {
            shared,
            run,
            update: name,
            request,
            key,
            timeout: None,
            decode: Payload::decode,
        }))
    }

    /// Sets the update's idempotency key, of 1 to 255 bytes without control characters: of all updates with this name and key,
    /// the run receives the first, and the others get its reply, whatever they ask for. See [`UpdateRun`] for an example.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.built().key = Some(key.into());
        self
    }

    /// Stops waiting after this time, with an error that [`Error::is_timeout`] recognises; the update stays. There is no
    /// timeout by default. See [`UpdateRun`] for an example.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.0.built().timeout = Some(time);
        self
    }
}

impl UpdateRun<serde_json::Value> {
    fn named(shared: Arc<ClientShared>, run: RunId, update: Name, request: Payload) -> Self {
        let key = shared.call.as_ref().map(CallKeys::next);
        // The types of updates are known to their runs alone.
        let request =
            shared.check_payload(format_args!("the request of update `{update}`"), request, |_| Ok(()));
        let decode = Payload::to_json;
        Self(Lazy::Built(Asking { shared, run, update, request, key, timeout: None, decode }))
    }
}

/// Has the update's own check look at the request, before anything is sent.
fn check<Q, A>(run: RunId, update: Update<Q, A>, request: &Q) -> Result<(), Error> {
    let refusal = match caught(|| update.refusal(request)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(refusal)) => refusal.to_string(),
        Err(panic) => format!("its check panicked: {panic}"),
    };
    Err(Error::update_refused(run, update.name(), refusal))
}

impl<A: DeserializeOwned + 'static> Future for UpdateRun<A> {
    type Output = Result<A, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.poll(context)
    }
}

impl<A: DeserializeOwned + 'static> Begin for Asking<A> {
    type Output = Result<A, Error>;

    fn shared(&self) -> &Arc<ClientShared> {
        &self.shared
    }

    fn begin(self) -> BoxFuture<'static, Self::Output> {
        let Self { shared, run, update, request, key, timeout, decode } = self;
        let asked = request.and_then(|request| Asked::new(shared, run, update, request, key));
        Box::pin(async move {
            let asked = asked?;
            decode(&asked.answer(timeout).await?).map_err(|error| {
                Error::payload(format!("the answer of run {run} to update `{}`", asked.update), error)
            })
        })
    }
}

/// An update that is sent, and its answer awaited, whatever their types.
struct Asked {
    shared: Arc<ClientShared>,
    run: RunId,
    message: MessageId,
    update: Name,
    key: Option<String>,
    body: Message,
}

impl Asked {
    fn new(
        shared: Arc<ClientShared>,
        run: RunId,
        update: Name,
        request: Payload,
        key: Option<String>,
    ) -> Result<Self, Error> {
        check_name("update", &update)?;
        key.iter().try_for_each(|key| check_name("key", key))?;
        let message = match &key {
            Some(key) => keyed_by("update", run, &update, key),
            None => random_message(&shared),
        };
        let body =
            Message::Update { update: update.clone(), request, key: key.clone(), trace: shared.trace() };
        Ok(Self { shared, run, message, update, key, body })
    }

    async fn answer(&self, timeout: Option<Duration>) -> Result<Payload, Error> {
        let mut is_accepted = false;
        let Some(time) = timeout else { return self.reply(&mut is_accepted).await };
        let expired = self.shared.host.sleep(time);
        let replied = tokio::select! {
            biased;
            replied = self.reply(&mut is_accepted) => Some(replied),
            () = expired => None,
        };
        match replied {
            Some(replied) => replied,
            None => {
                let waiting_on = self.waiting_on().await;
                let key = self.key.as_deref();
                Err(Error::unanswered(self.run, &self.update, key, time, (is_accepted, waiting_on)))
            }
        }
    }

    /// Sends the update and waits for its reply.
    async fn reply(&self, is_accepted: &mut bool) -> Result<Payload, Error> {
        if self.key.is_some()
            && let Some(replied) = self.read_reply().await?
        {
            // Sent again, a request that differs from one that was refused might be delivered.
            return self.read(replied);
        }
        // An update without a key is sent only once.
        let before = self.shared.watcher.moment();
        let (run, message) = (self.run, self.message);
        let submission = submission(message, run, &self.body);
        let store = Arc::clone(&self.shared.store);
        let is_keyed = self.key.is_some();
        let prepared = Prepared::new(store, submission, is_keyed, move |answer| match answer {
            Submitted::Accepted => Ok(true),
            // A reply may be there from before.
            Submitted::RunOver => Ok(false),
            Submitted::UnknownRun => Err(Error::unknown_run(run.to_string())),
            Submitted::Existing(_) | Submitted::ExistingOver(_) | Submitted::KeyConflict(_) => {
                let reason =
                    format!("an update of run {run} was answered with {answer:?}, which answers starts only");
                Err(StoreError::corrupt(reason).into())
            }
        });
        *is_accepted = self.shared.submit(prepared).await?;
        let replied = Topic { run, what: What::Replied { message } };
        let closed = Topic { run, what: What::Closed };
        let notice = if *is_accepted {
            // The run was open when it accepted the update.
            let watcher = &self.shared.watcher;
            tokio::select! {
                biased;
                notice = watcher.wait(replied, Some(before).filter(|_| !is_keyed)) => Some(notice?),
                notice = watcher.wait(closed, Some(before)) => Some(notice?).filter(|notice| notice.topic() == replied),
            }
        } else {
            None
        };
        match notice {
            Some(notice) => self.read(notice),
            None => self.read_at_end(*is_accepted).await,
        }
    }

    /// The run is over: no reply can follow that is not there.
    async fn read_at_end(&self, was_accepted: bool) -> Result<Payload, Error> {
        if let Some(replied) = self.read_reply().await? {
            return self.read(replied);
        }
        // The run may have received an earlier one with this key.
        let is_repeated = self.key.is_some() && !was_accepted;
        if was_accepted || is_repeated && self.shared.has_update(self.run, self.message).await? {
            return Err(Error::update_dropped(self.run, &self.update, true));
        }
        Err(Error::run_over(self.run))
    }

    /// The reply, if there is one.
    async fn read_reply(&self) -> Result<Option<Notice>, Error> {
        let topic = Topic { run: self.run, what: What::Replied { message: self.message } };
        let watch = Watch { topics: vec![topic], bytes: limits::PAGE_BYTES_MAX };
        let watched = self.shared.retry(|| self.shared.store.watch(&watch)).await?;
        Ok(watched.notices.into_iter().next())
    }

    fn read(&self, notice: Notice) -> Result<Payload, Error> {
        let Notice::Replied(replied) = notice else {
            return Err(StoreError::corrupt("another notice than was asked for").into());
        };
        let reply = decode_reply(&replied.body).map_err(|error| {
            StoreError::corrupt(format!("the reply of run {} to update `{}`: {error}", self.run, self.update))
        })?;
        match reply {
            Reply::Answered(answer) => Ok(answer),
            Reply::Refused(why) => Err(Error::update_refused(self.run, &self.update, why)),
            Reply::Dropped => Err(Error::update_dropped(self.run, &self.update, false)),
            Reply::TooMany => Err(Error::too_many_updates(self.run, &self.update)),
            Reply::Ending => Err(Error::run_over(self.run)),
        }
    }

    /// What the run waits on, if the store answers soon.
    async fn waiting_on(&self) -> Option<String> {
        tokio::select! {
            biased;
            info = self.shared.describe_current(self.run) => info.ok()?.waiting_on,
            () = self.shared.host.sleep(limits::LAST_WORDS_WAIT) => None,
        }
    }
}

impl<A: DeserializeOwned + 'static> fmt::Debug for UpdateRun<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<A> fmt::Debug for Asking<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateRun")
            .field("run", &self.run)
            .field("update", &self.update)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
