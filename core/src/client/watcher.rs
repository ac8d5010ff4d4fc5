//! Waits for notices about runs: one task per client asks the store about all awaited topics together, after a hint or a
//! poll interval. It must not know what a notice says.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, broadcast, oneshot};

use crate::data::id::ShardId;
use crate::data::limits;
use crate::error::Error;
use crate::host::Host;
use crate::store::error::StoreError;
use crate::store::watch::{Notice, Topic, Watch, Watched, What};
use crate::store::{Hint, HintKind, Store};

/// The waiters of a client, and the task that asks the store about their topics.
pub(crate) struct Watcher {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    poll_interval: Duration,
    waiters: Mutex<Waiters>,
    /// Notified when there is a topic to read, or the last waiter was dropped.
    changed: Notify,
}

#[derive(Default)]
struct Waiters {
    /// By shard, because a hint names a shard.
    topics: BTreeMap<ShardId, BTreeMap<Topic, Senders>>,
    /// How many waiters there have been.
    numbered: u64,
    /// Topics with a waiter that is newer than the last read of them.
    unread: BTreeSet<Topic>,
    /// Whether the task runs.
    has_task: bool,
    /// The task's receiver, while the task does not run. Hints accumulate in it.
    hints: Option<HintReceiver>,
    heard: Heard,
}

/// What the hints said so far.
#[derive(Debug, Default)]
struct Heard {
    /// How often hints were taken.
    count: u64,
    /// The last time that hints were missed, and that a hint named a shard, by this count.
    missed: u64,
    shards: BTreeMap<ShardId, u64>,
}

impl Heard {
    fn hear(&mut self, refresh: &Refresh) {
        self.count += 1;
        if refresh.all {
            self.missed = self.count;
        }
        self.shards.extend(refresh.shards.iter().map(|shard| (*shard, self.count)));
    }

    /// Whether hints since that moment may concern the shard.
    fn may_concern(&self, shard: ShardId, since: Moment) -> bool {
        self.missed.max(self.shards.get(&shard).copied().unwrap_or(0)) > since.heard
    }
}

/// A moment in the sequence of the hints that a client receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// As [`Heard::count`].
    heard: u64,
    /// By the host's clock.
    at: Duration,
}

impl Waiters {
    /// Adds a waiter of a topic, and returns its number.
    fn add(&mut self, topic: Topic, sender: oneshot::Sender<NoticeResult>) -> u64 {
        self.numbered += 1;
        let of_shard = self.topics.entry(topic.run.shard()).or_default();
        of_shard.entry(topic).or_default().insert(self.numbered, sender);
        self.numbered
    }

    /// Removes and returns the waiters of a topic.
    fn remove(&mut self, topic: Topic) -> Senders {
        let Entry::Occupied(mut shard) = self.topics.entry(topic.run.shard()) else { return Senders::new() };
        let senders = shard.get_mut().remove(&topic).unwrap_or_default();
        if shard.get().is_empty() {
            shard.remove();
        }
        senders
    }

    /// A waiter does not wait any more. There may be thousands of others: each update of a run waits for the run's end as well.
    fn leave(&mut self, topic: Topic, number: u64) {
        let of_shard = self.topics.get_mut(&topic.run.shard());
        let others = of_shard.and_then(|topics| topics.get_mut(&topic)).map_or(0, |senders| {
            senders.remove(&number);
            senders.len()
        });
        if others == 0 {
            self.remove(topic);
            self.unread.remove(&topic);
        }
    }
}

/// The waiters of a topic, by their numbers.
type Senders = BTreeMap<u64, oneshot::Sender<NoticeResult>>;

type NoticeResult = Result<Notice, Error>;

/// Which topics to read, in addition to the unread ones.
#[derive(Debug, Default)]
struct Refresh {
    all: bool,
    /// Shards with runs that have ended.
    shards: BTreeSet<ShardId>,
    /// Shards with runs that have published views.
    published: BTreeSet<ShardId>,
}

impl Refresh {
    fn add(&mut self, hint: Hint) {
        match hint {
            Hint::Notice(shard) => _ = self.shards.insert(shard),
            Hint::Published(shard) => _ = self.published.insert(shard),
            Hint::Missed => self.all = true,
            Hint::Mail(_) | Hint::Tasks(_) | Hint::Released => {}
        }
    }
}

impl Watcher {
    pub(super) fn new(store: Arc<dyn Store>, host: Arc<dyn Host>, poll_interval: Duration) -> Self {
        Self { store, host, poll_interval, waiters: Mutex::default(), changed: Notify::new() }
    }

    /// The current moment. From now on, hints are received.
    pub(super) fn moment(&self) -> Moment {
        let mut waiters = self.lock();
        if !waiters.has_task && waiters.hints.is_none() {
            waiters.hints = Some(HintReceiver::new(&*self.store));
        }
        Moment { heard: waiters.heard.count, at: self.host.monotonic() }
    }

    /// Waits for the topic's notice, for as long as it takes, even while the store does not answer. Drop the future to
    /// stop waiters. If it cannot have occurred before the moment `since`, it is not read until a hint says so, or until the
    /// poll after that moment.
    pub(crate) async fn wait(self: &Arc<Self>, topic: Topic, since: Option<Moment>) -> NoticeResult {
        let mut waiter = self.register(topic, since);
        match (&mut waiter.notice).await {
            Ok(notice) => notice,
            Err(_) => Err(Error::invalid(format!(
                "run {} cannot be awaited: the runtime in which this client was created has ended; create the \
                 client in the runtime that uses it",
                topic.run
            ))),
        }
    }

    fn register(self: &Arc<Self>, topic: Topic, since: Option<Moment>) -> Waiter {
        let (sender, notice) = oneshot::channel();
        let (number, is_due, hints) = {
            let mut waiters = self.lock();
            let number = waiters.add(topic, sender);
            let is_due = since.is_none_or(|since| {
                let age = self.host.monotonic().saturating_sub(since.at);
                age >= self.poll_interval || waiters.heard.may_concern(topic.run.shard(), since)
            });
            if is_due {
                waiters.unread.insert(topic);
            }
            let has_task = std::mem::replace(&mut waiters.has_task, true);
            let hints = || waiters.hints.take().unwrap_or_else(|| HintReceiver::new(&*self.store));
            (number, is_due, (!has_task).then(hints))
        };
        // The waiter exists before the task is spawned: a runtime that has ended drops the task at once, which must fail
        // this waiter.
        let waiter = Waiter { watcher: Arc::clone(self), topic, number, notice };
        if let Some(hints) = hints {
            self.host.spawn(Box::pin(WatchTask { watcher: Arc::clone(self), hints, ended: false }.run()));
        } else if is_due {
            self.changed.notify_one();
        }
        waiter
    }

    /// Takes the topics to read, in ascending order. `None` if there are no waiters, so that the task must end: it returns
    /// its receiver.
    fn take(&self, refresh: &Refresh, hints: &mut HintReceiver) -> Option<Vec<Topic>> {
        let mut waiters = self.lock();
        waiters.heard.hear(refresh);
        if waiters.topics.is_empty() {
            waiters.has_task = false;
            waiters.hints = Some(std::mem::take(hints));
            return None;
        }
        let mut topics = std::mem::take(&mut waiters.unread);
        if refresh.all {
            topics.extend(waiters.topics.values().flat_map(BTreeMap::keys));
        }
        let hinted = refresh.shards.iter().filter_map(|shard| waiters.topics.get(shard));
        topics.extend(hinted.flat_map(BTreeMap::keys));
        let published = refresh.published.iter().filter_map(|shard| waiters.topics.get(shard));
        topics.extend(published.flat_map(BTreeMap::keys).filter(|topic| topic.what != What::Closed));
        Some(topics.into_iter().collect())
    }

    /// Reads topics from the store and delivers their notices. If the store does not answer, the next poll reads them
    /// again.
    async fn read(&self, mut topics: &[Topic]) {
        while !topics.is_empty() {
            let page = &topics[..topics.len().min(limits::TOPICS_PER_READ)];
            let watch = Watch { topics: page.to_vec(), bytes: limits::PAGE_BYTES_MAX };
            let read = match self.store.watch(&watch).await {
                Ok(Watched { notices, cut }) => {
                    self.deliver(notices);
                    // A cut answer contains at least one notice.
                    cut.map_or(page.len(), |cut| page.partition_point(|topic| *topic < cut).max(1))
                }
                Err(error @ StoreError::Unavailable { .. }) => {
                    tracing::warn!(%error, topics = page.len(), "awaited results could not be read; the next poll retries");
                    return;
                }
                Err(error) => {
                    self.fail(page, &error);
                    page.len()
                }
            };
            topics = &topics[read..];
        }
    }

    fn deliver(&self, notices: Vec<Notice>) {
        let mut waiters = self.lock();
        for notice in notices {
            for sender in waiters.remove(notice.topic()).into_values() {
                drop(sender.send(Ok(notice.clone())));
            }
        }
    }

    fn fail(&self, topics: &[Topic], error: &StoreError) {
        let mut waiters = self.lock();
        for topic in topics {
            for sender in waiters.remove(*topic).into_values() {
                drop(sender.send(Err(error.repeated().into())));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The registration of one waiter; dropping it ends the registration.
struct Waiter {
    watcher: Arc<Watcher>,
    topic: Topic,
    number: u64,
    notice: oneshot::Receiver<NoticeResult>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiters = self.watcher.lock();
        waiters.leave(self.topic, self.number);
        if waiters.topics.is_empty() {
            self.watcher.changed.notify_one();
        }
    }
}

/// The task that reads topics. If it is dropped before it has ended, its runtime has ended, and its waiters must fail
/// instead of waiting forever.
struct WatchTask {
    watcher: Arc<Watcher>,
    hints: HintReceiver,
    ended: bool,
}

impl WatchTask {
    async fn run(mut self) {
        let watcher = Arc::clone(&self.watcher);
        let mut poll = watcher.host.sleep(watcher.poll_interval);
        let mut refresh = self.hints.gather(Refresh::default());
        let mut rested = Duration::ZERO;
        while let Some(topics) = watcher.take(&refresh, &mut self.hints) {
            if !topics.is_empty() {
                let began = watcher.host.monotonic();
                watcher.read(&topics).await;
                let ended = watcher.host.monotonic();
                rested = ended + ended.saturating_sub(began).min(watcher.poll_interval);
            }
            if refresh.all {
                poll = watcher.host.sleep(watcher.poll_interval);
            }
            refresh = watcher.next(&mut self.hints, &mut poll).await;
            // A rest for as long as the last read took limits the task to half of one connection, and lets more notices share
            // the next read. It is no timer by itself: those go by whole milliseconds, and a quiet client has rested already.
            let rest = rested.saturating_sub(watcher.host.monotonic());
            if !rest.is_zero() {
                watcher.host.sleep(rest).await;
                refresh = self.hints.gather(refresh);
            }
        }
        self.ended = true;
    }
}

impl Drop for WatchTask {
    fn drop(&mut self) {
        if !self.ended {
            let mut waiters = self.watcher.lock();
            waiters.has_task = false;
            // With the task's receiver, hints are lost.
            waiters.heard.hear(&Refresh { all: true, ..Refresh::default() });
            waiters.unread.clear();
            // Dropping the senders wakes the waiters.
            waiters.topics.clear();
        }
    }
}

impl Watcher {
    /// Waits for the next reason to read, and merges all reasons that are present.
    async fn next(&self, hints: &mut HintReceiver, poll: &mut BoxFuture<'static, ()>) -> Refresh {
        let mut refresh = Refresh::default();
        loop {
            tokio::select! {
                biased;
                // First, because new waiters may never pause.
                () = &mut *poll => {
                    refresh.all = true;
                    return hints.gather(refresh);
                }
                () = self.changed.notified() => return hints.gather(refresh),
                hint = hints.next() => {
                    refresh.add(hint);
                    refresh = hints.gather(refresh);
                    if refresh.all || !refresh.shards.is_empty() || !refresh.published.is_empty() {
                        return refresh;
                    }
                }
            }
        }
    }
}

/// Receives the store's hints until the store closes the channel.
#[derive(Debug, Default)]
struct HintReceiver {
    receiver: Option<broadcast::Receiver<Hint>>,
}

impl HintReceiver {
    fn new(store: &dyn Store) -> Self {
        Self { receiver: Some(store.hints(HintKind::Notice)) }
    }

    async fn next(&mut self) -> Hint {
        match &mut self.receiver {
            Some(receiver) => match receiver.recv().await {
                Ok(hint) => hint,
                Err(RecvError::Lagged(_)) => Hint::Missed,
                Err(RecvError::Closed) => {
                    self.receiver = None;
                    Hint::Missed
                }
            },
            // Polling continues without hints.
            None => std::future::pending().await,
        }
    }

    /// Adds the hints that have already arrived.
    fn gather(&mut self, mut refresh: Refresh) -> Refresh {
        while let Some(receiver) = &mut self.receiver {
            match receiver.try_recv() {
                Ok(hint) => refresh.add(hint),
                Err(TryRecvError::Lagged(_)) => refresh.add(Hint::Missed),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => self.receiver = None,
            }
        }
        refresh
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("shards", &self.lock().topics.len()).finish_non_exhaustive()
    }
}
