//! What all clones of a client share: the store, the queue's shards, the store's time, and the retries of calls that
//! the store did not answer. It must not know what a request means.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::batch::Batcher;
use crate::client::info::RunInfo;
use crate::client::known_types::KnownTypes;
use crate::client::request::Prepared;
use crate::client::watcher::Watcher;
use crate::data::id::RunId;
use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::{Payload, PayloadError, payload_too_large};
use crate::data::shards::Shards;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;
use crate::error::Error;
use crate::guard::caught;
use crate::history::{Event, History, HistoryEvent};
use crate::host::{Host, StoreClock};
use crate::observe::spans::Propagator;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::history::{Load, RunHistory};
use crate::store::inbox::{Submission, Submitted};
use crate::store::switchboard::Switchboard;

/// The queue of workflows that no worker has ever known, unless the client is told another.
pub(super) const QUEUE_DEFAULT: &str = "default";

/// The shards among which a run of each workflow is started, and until when that is known, by the host's clock.
#[derive(Debug, Default)]
struct Places(BTreeMap<Name, (Shards, Duration)>);

impl Places {
    fn get(&self, place: &Name) -> Option<(Shards, Duration)> {
        self.0.get(place).copied()
    }

    fn set(&mut self, place: Name, known: (Shards, Duration)) {
        // A client may start workflows whose names it is given, however many there are.
        if self.0.len() >= limits::CLIENT_PLACES_MAX {
            self.0.clear();
        }
        self.0.insert(place, known);
    }
}

/// A client's configuration.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The queue of all starts; `None`: that of the workflow.
    pub(super) queue: Option<String>,
    /// How many shards the queue has to have; `None`: any number, and the default if it is created.
    pub(super) queue_shards: Option<u16>,
    pub(super) payload_bytes_max: usize,
    pub(super) poll_interval: Duration,
    /// The types that it was told.
    pub(super) types: KnownTypes,
    /// What tells the trace of the code that starts a run, or sends it a signal or an update.
    pub(super) propagator: Propagator,
}

/// What all clones of a client share.
#[derive(Debug)]
pub(crate) struct ClientShared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) host: Arc<dyn Host>,
    pub(super) settings: Settings,
    pub(super) watcher: Arc<Watcher>,
    batcher: Arc<Batcher>,
    /// Routes starts to workers of this process, if the store supports that.
    pub(super) switchboard: Option<Switchboard>,
    known: Arc<Known>,
    /// Makes the keys of what an attempt of an activity asks for.
    pub(super) call: Option<CallKeys>,
}

/// What is known of the store.
#[derive(Debug, Default)]
struct Known {
    clock: StoreClock,
    /// Where runs are started.
    places: Mutex<Places>,
    /// Held while the queue is read from the store, so that a thousand concurrent first starts read it once.
    queue_read: tokio::sync::Mutex<()>,
}

/// The idempotency keys of what an attempt of an activity asks for: the same in every attempt of the call.
#[derive(Debug)]
pub(super) struct CallKeys {
    /// That of the call.
    key: String,
    asked: AtomicUsize,
}

impl CallKeys {
    /// The key of the next request.
    pub(super) fn next(&self) -> String {
        format!("{}:{}", self.key, self.asked.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl ClientShared {
    pub(super) fn new(store: Arc<dyn Store>, host: Arc<dyn Host>, settings: Settings) -> Self {
        let watcher = Watcher::new(Arc::clone(&store), Arc::clone(&host), settings.poll_interval);
        Self {
            batcher: Batcher::new(Arc::clone(&store), Arc::clone(&host)),
            switchboard: store.switchboard(),
            store,
            host,
            settings,
            watcher: Arc::new(watcher),
            known: Arc::default(),
            call: None,
        }
    }

    /// The same for an attempt of an activity, whose call has this key.
    pub(super) fn of_call(&self, key: String) -> Self {
        Self {
            store: Arc::clone(&self.store),
            host: Arc::clone(&self.host),
            settings: self.settings.clone(),
            watcher: Arc::clone(&self.watcher),
            batcher: Arc::clone(&self.batcher),
            switchboard: self.switchboard.clone(),
            known: Arc::clone(&self.known),
            call: Some(CallKeys { key, asked: AtomicUsize::new(0) }),
        }
    }

    /// The place in a trace of the calling code, if a propagator knows one.
    pub(super) fn trace(&self) -> Option<Box<TraceContext>> {
        let propagator = self.settings.propagator.as_deref()?;
        caught(|| propagator.current()).ok().flatten().map(Box::new)
    }

    /// Makes a call, and retries it a few times while the store does not answer.
    pub(crate) async fn retry<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        // Jitter keeps clients that lost the store together from returning together.
        let jitter = Duration::from_micros(self.host.random() % 25_000);
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(limits::CLIENT_RETRY_DELAY + jitter)
            .with_factor(2.0)
            .with_max_times(limits::CLIENT_RETRIES_MAX)
            .build();
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Other errors are answers, and a retry would get the same one.
            let delay = matches!(error, StoreError::Unavailable { .. }).then(|| delays.next()).flatten();
            let Some(delay) = delay else { return Err(error.into()) };
            tracing::debug!(%error, ?delay, "the store did not answer; retrying");
            self.host.sleep(delay).await;
        }
    }

    /// Submits a request. Retries send the same submission, so that it takes effect once.
    pub(crate) async fn submit<T>(&self, prepared: Prepared<T>) -> Result<T, Error> {
        let (submission, is_keyed) = (prepared.submission().clone(), prepared.is_keyed());
        let tries = AtomicUsize::new(0);
        let answer = self.retry(|| {
            tries.fetch_add(1, Ordering::Relaxed);
            self.submit_once(&submission, is_keyed)
        });
        let answer = answer.await?;
        let over = match answer {
            Submitted::RunOver if submission.opens.is_none() => Some(submission.run),
            Submitted::ExistingOver(run) => Some(run),
            _ => None,
        };
        let is_repeated = tries.into_inner() > 1;
        if let Some(run) = over.filter(|_| is_repeated || self.call.is_some()) {
            // The run may have received the message at the first try, or in an earlier attempt, and ended because of it.
            if self.has_received(run, &submission).await {
                let accepted =
                    if submission.opens.is_some() { Submitted::Existing(run) } else { Submitted::Accepted };
                return prepared.answered(accepted);
            }
            if !is_repeated {
                return prepared.answered(answer);
            }
            let reason = format!(
                "run {run} is over, and it is not known whether it received this message before; read its history"
            );
            return Err(StoreError::unavailable(reason).into());
        }
        prepared.answered(answer)
    }

    /// Whether the log of a run, or of another one of its chain, has the signal or update of a submission, as far as that can be
    /// read now. The last run of a chain knows what the others have logged lately.
    async fn has_received(&self, run: RunId, submission: &Submission) -> bool {
        let follow_up = submission.opens.as_ref().and_then(|new| new.followed_by.as_ref());
        let sent = follow_up.map_or(submission.message, |follow_up| follow_up.message);
        let is_it = |event: &HistoryEvent| match event.event {
            Event::SignalReceived { message, .. } | Event::UpdateReceived { message, .. } => message == sent,
            Event::MessagesKnown { ref messages } => messages.0.iter().any(|known| known.message == sent),
            _ => false,
        };
        let Ok(last) = self.describe_current(run).await else { return false };
        let history = self.history(last.run_id).await.and_then(|history| history.events());
        history.is_ok_and(|events| events.iter().any(is_it))
    }

    async fn submit_once(&self, submission: &Submission, is_keyed: bool) -> Result<Submitted, StoreError> {
        if !is_keyed {
            return self.batcher.submit(submission.clone()).await;
        }
        let answers = self.store.submit(std::slice::from_ref(submission)).await?;
        match answers[..] {
            [answer] => Ok(answer),
            _ => {
                let count = answers.len();
                let reason = format!("one submission was answered {count} times: {:?}", self.store);
                Err(StoreError::corrupt(reason))
            }
        }
    }

    /// The shards of the queue in which a workflow is started, and the store's time. An old answer is renewed: the two clocks
    /// drift apart, and the host's clock may stop while its machine is suspended.
    pub(crate) async fn shards(&self, workflow: &Name) -> Result<(Shards, Timestamp), Error> {
        match self.shards_known(workflow) {
            Some(known) => Ok(known),
            // Boxed, because it is rare and would make the future of every start large.
            None => Box::pin(self.read_shards(workflow)).await,
        }
    }

    async fn read_shards(&self, workflow: &Name) -> Result<(Shards, Timestamp), Error> {
        let _turn = self.known.queue_read.lock().await;
        if let Some(known) = self.shards_known(workflow) {
            return Ok(known);
        }
        let (name, lasts) = self.queue_of(workflow).await?;
        let shards = self.settings.queue_shards.unwrap_or(limits::QUEUE_SHARDS);
        let queue = self.retry(|| self.store.queue(&name, shards)).await?;
        queue.check_shards(self.settings.queue_shards)?;
        if queue.shard_count == 0 {
            let reason = format!("queue `{}` has no shards; give it some, or delete it", queue.name);
            return Err(StoreError::corrupt(reason).into());
        }
        self.known.clock.answered(queue.now, &*self.host);
        let shards = Shards::new(queue.first_shard, queue.shard_count)?;
        let known = (shards, self.host.monotonic() + lasts);
        self.lock_places().set(self.place_of(workflow), known);
        Ok((shards, queue.now))
    }

    /// The queue in which a workflow is started, and how long that is known.
    async fn queue_of(&self, workflow: &Name) -> Result<(String, Duration), Error> {
        if let Some(queue) = &self.settings.queue {
            return Ok((queue.clone(), limits::CLIENT_CLOCK_AGE_MAX));
        }
        let mut queues = self.retry(|| self.store.query().queues_of(workflow)).await?;
        if queues.is_empty() {
            // The first worker that knows it may begin in the next moment, with another queue.
            return Ok((QUEUE_DEFAULT.to_owned(), limits::CLIENT_QUEUE_UNKNOWN_AGE_MAX));
        }
        if queues.iter().any(|queue| queue == QUEUE_DEFAULT) {
            return Ok((QUEUE_DEFAULT.to_owned(), limits::CLIENT_CLOCK_AGE_MAX));
        }
        if queues.len() > 1 {
            return Err(Error::invalid(format!(
                "workers of the queues {} know workflow `{workflow}`, so it is not clear where to start a run; name the \
                 queue: `Client::builder(store).queue(…)`",
                queues.iter().map(|queue| format!("`{queue}`")).collect::<Vec<_>>().join(", ")
            )));
        }
        Ok((queues.remove(0), limits::CLIENT_CLOCK_AGE_MAX))
    }

    /// Under which name the place of a workflow is known: if all starts go to one queue, it is the same for all of them.
    fn place_of(&self, workflow: &Name) -> Name {
        if self.settings.queue.is_some() { Name::default() } else { workflow.clone() }
    }

    fn shards_known(&self, workflow: &Name) -> Option<(Shards, Timestamp)> {
        let (shards, until) = self.lock_places().get(&self.place_of(workflow))?;
        let now = self.host.monotonic();
        (now < until).then_some((shards, self.known.clock.at(now)?))
    }

    fn lock_places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.known.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encodes a value, if it can be read back and is within the size limit.
    pub(super) fn encode<T: Serialize + DeserializeOwned>(
        &self,
        what: impl fmt::Display,
        value: &T,
    ) -> Result<Payload, Error> {
        let payload =
            Payload::encode_readable(value).map_err(|error| Error::payload(what.to_string(), error))?;
        self.check_size(what, payload)
    }

    /// Returns the caller's payload, if it can be read, fits what is known of it and is within the size limit.
    pub(super) fn check_payload(
        &self,
        what: impl fmt::Display,
        payload: Payload,
        fits: impl FnOnce(&Payload) -> Result<(), PayloadError>,
    ) -> Result<Payload, Error> {
        let checked = payload.check_readable().and_then(|()| fits(&payload));
        checked.map_err(|error| Error::payload(what.to_string(), error))?;
        self.check_size(what, payload)
    }

    fn check_size(&self, what: impl fmt::Display, payload: Payload) -> Result<Payload, Error> {
        let bytes = payload.bytes().len();
        if bytes > self.settings.payload_bytes_max {
            return Err(Error::invalid(payload_too_large(&what, bytes, self.settings.payload_bytes_max)));
        }
        Ok(payload)
    }

    /// Describes a run.
    pub(crate) async fn describe(&self, run: RunId) -> Result<RunInfo, Error> {
        let found = self.retry(|| self.store.query().describe(run)).await?;
        found.map(RunInfo::new).ok_or_else(|| Error::unknown_run(run.to_string()))
    }

    /// Describes the current run of a run's chain.
    pub(crate) async fn describe_current(&self, mut run: RunId) -> Result<RunInfo, Error> {
        loop {
            let found = self.retry(|| self.store.query().describe(run)).await?;
            let found = found.ok_or_else(|| Error::unknown_run(run.to_string()))?;
            match found.current {
                // It may be continued between the two reads.
                Some(current) => run = current,
                None => return Ok(RunInfo::new(found)),
            }
        }
    }

    /// Reads a run's whole history, part by part.
    pub(crate) async fn history(&self, run: RunId) -> Result<History, Error> {
        let mut history = RunHistory { run, frames: Vec::new() };
        loop {
            let after = history.frames.last().map(|frame| frame.seq);
            let load = Load { runs: vec![run], after, bytes: limits::PAGE_BYTES_MAX };
            let loaded = self.retry(|| self.store.query().load(&load)).await?;
            history.frames.extend(loaded.histories.into_iter().flat_map(|part| part.frames));
            if loaded.cut.is_none() {
                break;
            }
        }
        if history.frames.is_empty() {
            // A run that no worker has begun has no events; a run that does not exist is an error.
            self.describe(run).await?;
        }
        History::new(&history)
    }
}
