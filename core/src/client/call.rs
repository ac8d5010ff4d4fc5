//! What all clones of a client share: the store, the queue's shards, the store's time, and the patience with a
//! store that does not answer. It must not know what a request means.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::batch::Batcher;
use crate::client::info::RunInfo;
use crate::client::request::Prepared;
use crate::client::watcher::Watcher;
use crate::data::id::{EventSeq, RunId, ShardId};
use crate::data::limits;
use crate::data::payload::{Payload, payload_too_large};
use crate::data::time::Timestamp;
use crate::error::Error;
use crate::host::{Host, StoreClock};
use crate::store::error::StoreError;
use crate::store::history::{EventRecord, RunHistory};
use crate::store::inbox::{Submission, Submitted};
use crate::store::switchboard::Switchboard;
use crate::store::{Queue, Store};

/// A queue's contiguous range of shards; at least one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shards {
    first: ShardId,
    last: ShardId,
}

impl Shards {
    fn new(queue: &Queue) -> Result<Self, Error> {
        let last = queue.first_shard.get().saturating_add(queue.shard_count - 1);
        Ok(Self { first: queue.first_shard, last: ShardId::new(last)? })
    }

    pub(crate) fn first(self) -> ShardId {
        self.first
    }

    pub(crate) fn last(self) -> ShardId {
        self.last
    }

    /// The shard of that number modulo their count, from the first on.
    pub(crate) fn nth(self, number: u64) -> ShardId {
        let (first, last) = (self.first.get(), self.last.get());
        let nth = number % (u64::from(last - first) + 1);
        ShardId::new(first + nth as u16).expect("it is not beyond the last")
    }
}

/// What a client is configured with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) queue: String,
    pub(super) queue_shards: u16,
    pub(super) payload_bytes_max: usize,
    pub(super) poll_interval: Duration,
}

/// What all clones of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) host: Arc<dyn Host>,
    pub(super) settings: Settings,
    pub(super) watcher: Arc<Watcher>,
    batcher: Arc<Batcher>,
    clock: StoreClock,
    /// Where workers of this process take starts, if the store knows them.
    pub(super) switchboard: Option<Switchboard>,
    /// The queue's shards, and when the store named them by the host's clock.
    shards: Mutex<Option<(Shards, Duration)>>,
    /// Held while the store is asked for the queue, so that a thousand first starts ask once.
    queue_asked: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(super) fn new(store: Arc<dyn Store>, host: Arc<dyn Host>, settings: Settings) -> Self {
        let watcher = Watcher::new(Arc::clone(&store), Arc::clone(&host), settings.poll_interval);
        Self {
            batcher: Batcher::new(Arc::clone(&store), Arc::clone(&host)),
            switchboard: store.switchboard(),
            store,
            host,
            settings,
            watcher: Arc::new(watcher),
            clock: StoreClock::default(),
            shards: Mutex::default(),
            queue_asked: tokio::sync::Mutex::default(),
        }
    }

    /// Makes a call, and makes it again a few times while the store does not answer.
    pub(crate) async fn retry<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        // Two clients that were cut off together need not come back together.
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
            // Only an answer that did not come may be different the next time.
            let again = matches!(error, StoreError::Unavailable { .. }).then(|| delays.next()).flatten();
            let Some(delay) = again else { return Err(error.into()) };
            tracing::debug!(%error, ?delay, "a request will be sent again");
            self.host.sleep(delay).await;
        }
    }

    /// Submits a request: the very same submission until its outcome is known.
    pub(crate) async fn submit<T>(&self, prepared: Prepared<T>) -> Result<T, Error> {
        let (submission, is_keyed) = (prepared.submission().clone(), prepared.is_keyed());
        let tries = AtomicUsize::new(0);
        let answer = self.retry(|| {
            tries.fetch_add(1, Ordering::Relaxed);
            self.submit_once(&submission, is_keyed)
        });
        let answer = answer.await?;
        let message = submission.opens.is_none();
        if message && answer == Submitted::RunOver && tries.into_inner() > 1 {
            // The run may have taken the message of the first try, and ended with it.
            let reason = format!(
                "run {} is over, and whether it took this message before is not known; its history tells",
                submission.run
            );
            return Err(StoreError::unavailable(reason).into());
        }
        prepared.answered(answer)
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

    /// The queue's shards and the store's time, which is asked for again where the last answer is old: the two
    /// clocks drift apart, and a machine that was suspended has not counted.
    pub(crate) async fn shards(&self) -> Result<(Shards, Timestamp), Error> {
        if let Some(known) = self.shards_known() {
            return Ok(known);
        }
        let _turn = self.queue_asked.lock().await;
        if let Some(known) = self.shards_known() {
            return Ok(known);
        }
        let queue = self.retry(|| self.store.queue(&self.settings.queue, self.settings.queue_shards)).await?;
        if queue.shard_count == 0 {
            let reason = format!("queue `{}` has no shards: give it some, or drop it", queue.name);
            return Err(StoreError::corrupt(reason).into());
        }
        self.clock.answered(queue.now, &*self.host);
        let shards = Shards::new(&queue)?;
        *self.lock_shards() = Some((shards, self.host.monotonic()));
        Ok((shards, queue.now))
    }

    fn shards_known(&self) -> Option<(Shards, Timestamp)> {
        let (shards, answered) = (*self.lock_shards())?;
        let age = self.host.monotonic().saturating_sub(answered);
        (age < limits::CLIENT_CLOCK_AGE_MAX).then_some((shards, self.clock.now(&*self.host)?))
    }

    fn lock_shards(&self) -> std::sync::MutexGuard<'_, Option<(Shards, Duration)>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encodes user data that can be read back, within the limit.
    pub(super) fn encode<T: Serialize + DeserializeOwned>(
        &self,
        what: &str,
        value: &T,
    ) -> Result<Payload, Error> {
        let payload = Payload::encode_readable(value).map_err(|error| Error::payload(what, error))?;
        self.check_size(what, payload)
    }

    /// A payload that the caller made, if it can be read and is within the limit.
    pub(super) fn check_payload(&self, what: &str, payload: Payload) -> Result<Payload, Error> {
        payload.check_readable().map_err(|error| Error::payload(what, error))?;
        self.check_size(what, payload)
    }

    fn check_size(&self, what: &str, payload: Payload) -> Result<Payload, Error> {
        let bytes = payload.bytes().len();
        if bytes > self.settings.payload_bytes_max {
            return Err(Error::invalid(payload_too_large(&what, bytes, self.settings.payload_bytes_max)));
        }
        Ok(payload)
    }

    /// What there is to say of a run.
    pub(crate) async fn describe(&self, run: RunId) -> Result<RunInfo, Error> {
        let found = self.retry(|| self.store.query().describe(run)).await?;
        found.map(RunInfo::new).ok_or_else(|| Error::unknown_run(run.to_string()))
    }

    /// A run's whole history.
    pub(crate) async fn history(&self, run: RunId) -> Result<RunHistory, Error> {
        let page = limits::HISTORY_EVENTS_PER_READ;
        let mut events: Vec<EventRecord> = Vec::new();
        loop {
            let after: Option<EventSeq> = events.last().map(|event| event.seq);
            let records = self.retry(|| self.store.query().history(run, after, page)).await?;
            let more = records.len() >= page as usize;
            events.extend(records);
            if !more {
                break;
            }
        }
        if events.is_empty() {
            // No worker may have begun the run yet; that there is no such run must not look the same.
            self.describe(run).await?;
        }
        Ok(RunHistory { run, events })
    }
}
