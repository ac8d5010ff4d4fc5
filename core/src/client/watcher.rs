//! Where those wait who want to be told of something: one task per client asks the store for all their topics together,
//! after a hint or a poll interval. It must not know what a notice says.

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
use crate::store::watch::{Notice, Topic, Watch, Watched};
use crate::store::{Hint, Store};

/// Those who wait, and the task that asks for their topics.
pub(crate) struct Watcher {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    poll_interval: Duration,
    waiting: Mutex<Waiting>,
    /// Notified when somebody came, or the last one left.
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    /// By shard, because a hint names a shard.
    topics: BTreeMap<ShardId, BTreeMap<Topic, Vec<oneshot::Sender<Answer>>>>,
    /// Topics that the store has not been asked about since somebody came to wait for them.
    unasked: BTreeSet<Topic>,
    /// Whether the task is there.
    task: bool,
}

impl Waiting {
    /// Those who wait for a topic, who then wait no more.
    fn remove(&mut self, topic: Topic) -> Vec<oneshot::Sender<Answer>> {
        let Entry::Occupied(mut shard) = self.topics.entry(topic.run.shard()) else { return Vec::new() };
        let senders = shard.get_mut().remove(&topic).unwrap_or_default();
        if shard.get().is_empty() {
            shard.remove();
        }
        senders
    }
}

type Answer = Result<Notice, Error>;

/// Which topics to ask about, beside those that have not been asked about.
#[derive(Debug, Default)]
struct Look {
    all: bool,
    shards: BTreeSet<ShardId>,
}

impl Look {
    fn add(&mut self, hint: Hint) {
        match hint {
            Hint::Notice(shard) => _ = self.shards.insert(shard),
            Hint::Missed => self.all = true,
            Hint::Mail(_) | Hint::Released => {}
        }
    }
}

impl Watcher {
    pub(super) fn new(store: Arc<dyn Store>, host: Arc<dyn Host>, poll_interval: Duration) -> Self {
        Self { store, host, poll_interval, waiting: Mutex::default(), changed: Notify::new() }
    }

    /// Waits until the topic has come about. A store that does not answer is waited for; dropping the future is how
    /// to give up.
    pub(crate) async fn wait(self: &Arc<Self>, topic: Topic) -> Answer {
        let mut ticket = self.register(topic);
        match (&mut ticket.answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::invalid(format!(
                "nobody asks for news of run {} any more: the runtime in which this client was made has ended; make \
                 the client in the runtime that uses it",
                topic.run
            ))),
        }
    }

    fn register(self: &Arc<Self>, topic: Topic) -> Ticket {
        let (sender, answer) = oneshot::channel();
        let begin = {
            let mut waiting = self.lock();
            waiting.topics.entry(topic.run.shard()).or_default().entry(topic).or_default().push(sender);
            waiting.unasked.insert(topic);
            !std::mem::replace(&mut waiting.task, true)
        };
        // Decision before the task is handed over: a runtime that has ended drops it at once, and that must be seen.
        let ticket = Ticket { watcher: Arc::clone(self), topic, answer };
        if begin {
            self.host.spawn(Box::pin(Task { watcher: Arc::clone(self), ended: false }.run()));
        } else {
            self.changed.notify_one();
        }
        ticket
    }

    /// The topics to ask about, ascending. `None` if nobody waits, and the task has to end.
    fn take(&self, look: &Look) -> Option<Vec<Topic>> {
        let mut waiting = self.lock();
        if waiting.topics.is_empty() {
            waiting.task = false;
            return None;
        }
        let mut topics = std::mem::take(&mut waiting.unasked);
        if look.all {
            topics.extend(waiting.topics.values().flat_map(BTreeMap::keys));
        }
        let hinted = look.shards.iter().filter_map(|shard| waiting.topics.get(shard));
        topics.extend(hinted.flat_map(BTreeMap::keys));
        Some(topics.into_iter().collect())
    }

    /// Asks the store, and hands out what it knows. What it did not answer is asked for again at the next poll.
    async fn ask(&self, mut topics: &[Topic]) {
        while !topics.is_empty() {
            let asked = &topics[..topics.len().min(limits::TOPICS_PER_READ)];
            let watch = Watch { topics: asked.to_vec(), bytes: limits::PAGE_BYTES_MAX };
            let answered = match self.store.watch(&watch).await {
                Ok(Watched { notices, cut }) => {
                    self.deliver(notices);
                    // An answer that was cut has one notice at least.
                    cut.map_or(asked.len(), |cut| asked.partition_point(|topic| *topic < cut).max(1))
                }
                Err(error @ StoreError::Unavailable { .. }) => {
                    tracing::warn!(%error, topics = asked.len(), "results could not be asked for; trying again");
                    return;
                }
                Err(error) => {
                    self.refuse(asked, &error);
                    asked.len()
                }
            };
            topics = &topics[answered..];
        }
    }

    fn deliver(&self, notices: Vec<Notice>) {
        let mut waiting = self.lock();
        for notice in notices {
            for sender in waiting.remove(notice.topic()) {
                drop(sender.send(Ok(notice.clone())));
            }
        }
    }

    fn refuse(&self, topics: &[Topic], error: &StoreError) {
        let mut waiting = self.lock();
        for topic in topics {
            for sender in waiting.remove(*topic) {
                drop(sender.send(Err(error.repeated().into())));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits. Dropping it leaves the queue.
struct Ticket {
    watcher: Arc<Watcher>,
    topic: Topic,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.answer.close();
        let mut waiting = self.watcher.lock();
        let mut others = waiting.remove(self.topic);
        others.retain(|sender| !sender.is_closed());
        if others.is_empty() {
            waiting.unasked.remove(&self.topic);
        } else {
            waiting.topics.entry(self.topic.run.shard()).or_default().insert(self.topic, others);
        }
        if waiting.topics.is_empty() {
            self.watcher.changed.notify_one();
        }
    }
}

/// The task. If it is dropped before its end, its runtime is gone: those who wait must not wait for ever.
struct Task {
    watcher: Arc<Watcher>,
    ended: bool,
}

impl Task {
    async fn run(mut self) {
        let watcher = Arc::clone(&self.watcher);
        // Subscribed before the first look, so that nothing comes about unseen between the two.
        let mut hints = Hints { receiver: Some(watcher.store.hints()) };
        let mut poll = watcher.host.sleep(watcher.poll_interval);
        let mut look = Look::default();
        while let Some(topics) = watcher.take(&look) {
            let began = watcher.host.monotonic();
            watcher.ask(&topics).await;
            if look.all {
                poll = watcher.host.sleep(watcher.poll_interval);
            }
            // Rested as long as was worked: however much comes about, half of one connection is enough for them, and
            // the more come together in the next round.
            let took = watcher.host.monotonic().saturating_sub(began);
            if !took.is_zero() {
                watcher.host.sleep(took.min(watcher.poll_interval)).await;
            }
            look = watcher.next(&mut hints, &mut poll).await;
        }
        self.ended = true;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.ended {
            let mut waiting = self.watcher.lock();
            waiting.task = false;
            waiting.unasked.clear();
            // Dropped senders wake those who wait.
            waiting.topics.clear();
        }
    }
}

impl Watcher {
    /// Waits for a reason to look, and gathers all reasons that are there.
    async fn next(&self, hints: &mut Hints, poll: &mut BoxFuture<'static, ()>) -> Look {
        let mut look = Look::default();
        loop {
            tokio::select! {
                biased;
                () = self.changed.notified() => return hints.gather(look),
                () = &mut *poll => {
                    look.all = true;
                    return hints.gather(look);
                }
                hint = hints.next() => {
                    look.add(hint);
                    look = hints.gather(look);
                    if look.all || !look.shards.is_empty() {
                        return look;
                    }
                }
            }
        }
    }
}

/// The store's hints, until the store has none any more.
struct Hints {
    receiver: Option<broadcast::Receiver<Hint>>,
}

impl Hints {
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
            // Polling alone goes on.
            None => std::future::pending().await,
        }
    }

    /// Adds the hints that are there already.
    fn gather(&mut self, mut look: Look) -> Look {
        while let Some(receiver) = &mut self.receiver {
            match receiver.try_recv() {
                Ok(hint) => look.add(hint),
                Err(TryRecvError::Lagged(_)) => look.add(Hint::Missed),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => self.receiver = None,
            }
        }
        look
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("shards", &self.lock().topics.len()).finish_non_exhaustive()
    }
}
