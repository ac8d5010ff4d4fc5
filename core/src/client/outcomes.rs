//! Where those wait who want results: one task per client asks the store for all of them together, when a hint
//! came or the poll interval is over. It must not know what an outcome says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{self};
use tokio::sync::{Notify, oneshot};

use crate::data::id::{RunId, ShardId};
use crate::data::limits;
use crate::error::Error;
use crate::host::Host;
use crate::store::append::ClosedRun;
use crate::store::error::StoreError;
use crate::store::{Hint, Store};

/// Those who wait for results, and the task that asks for them.
pub(crate) struct Outcomes {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    poll_interval: Duration,
    waiting: Mutex<Waiting>,
    /// Rung when somebody came, or the last one left.
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    /// By shard, because a hint names a shard.
    runs: BTreeMap<(ShardId, RunId), Vec<oneshot::Sender<Answer>>>,
    /// Runs that the store has not been asked about since somebody came to wait for them.
    unasked: BTreeSet<(ShardId, RunId)>,
    /// Whether the task is there.
    task: bool,
}

type Answer = Result<ClosedRun, Error>;

/// Which runs to ask about, beside those that have not been asked about.
#[derive(Debug, Default)]
struct Look {
    all: bool,
    shards: BTreeSet<ShardId>,
}

impl Look {
    fn add(&mut self, hint: Hint) {
        match hint {
            Hint::Closed(shard) => _ = self.shards.insert(shard),
            Hint::Missed => self.all = true,
            Hint::Mail(_) | Hint::Released => {}
        }
    }
}

impl Outcomes {
    pub(super) fn new(store: Arc<dyn Store>, host: Arc<dyn Host>, poll_interval: Duration) -> Self {
        Self { store, host, poll_interval, waiting: Mutex::default(), changed: Notify::new() }
    }

    /// Waits until the run is over. A store that does not answer is waited for; dropping the future is how to
    /// give up.
    pub(crate) async fn wait(self: &Arc<Self>, run: RunId) -> Answer {
        let mut ticket = self.register(run);
        match (&mut ticket.answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::invalid(format!(
                "nobody asks for the result of run {run} any more: the runtime in which this client was made has \
                 ended; make the client in the runtime that uses it"
            ))),
        }
    }

    fn register(self: &Arc<Self>, run: RunId) -> Ticket {
        let (sender, answer) = oneshot::channel();
        let place = (run.shard(), run);
        let begin = {
            let mut waiting = self.lock();
            waiting.runs.entry(place).or_default().push(sender);
            waiting.unasked.insert(place);
            !std::mem::replace(&mut waiting.task, true)
        };
        // Made before the task is handed over: a runtime that has ended drops it at once, and that must be seen.
        let ticket = Ticket { outcomes: Arc::clone(self), place, answer };
        if begin {
            self.host.spawn(Box::pin(Task { outcomes: Arc::clone(self), ended: false }.run()));
        } else {
            self.changed.notify_one();
        }
        ticket
    }

    /// The runs to ask about. `None` if nobody waits, and the task has to end.
    fn take(&self, look: &Look) -> Option<Vec<RunId>> {
        let mut waiting = self.lock();
        if waiting.runs.is_empty() {
            waiting.task = false;
            return None;
        }
        let mut places = std::mem::take(&mut waiting.unasked);
        if look.all {
            places.extend(waiting.runs.keys().copied());
        }
        for &shard in &look.shards {
            let of_shard = (shard, RunId::from_u128(0))..=(shard, RunId::from_u128(u128::MAX));
            places.extend(waiting.runs.range(of_shard).map(|(place, _)| *place));
        }
        Some(places.into_iter().map(|(_, run)| run).collect())
    }

    /// Asks the store, and hands out what it knows. What it did not answer is asked for again at the next poll.
    async fn ask(&self, runs: &[RunId]) {
        for runs in runs.chunks(limits::CLOSED_RUNS_PER_READ) {
            match self.store.closed(runs).await {
                Ok(closed) => self.deliver(closed),
                Err(error @ StoreError::Unavailable { .. }) => {
                    tracing::warn!(%error, runs = runs.len(), "results could not be asked for; trying again");
                    return;
                }
                Err(error) => self.refuse(runs, &error),
            }
        }
    }

    fn deliver(&self, closed: Vec<ClosedRun>) {
        let mut waiting = self.lock();
        for closed in closed {
            for sender in waiting.runs.remove(&(closed.run.shard(), closed.run)).into_iter().flatten() {
                drop(sender.send(Ok(closed.clone())));
            }
        }
    }

    fn refuse(&self, runs: &[RunId], error: &StoreError) {
        let mut waiting = self.lock();
        for run in runs {
            for sender in waiting.runs.remove(&(run.shard(), *run)).into_iter().flatten() {
                drop(sender.send(Err(same_error(error).into())));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits. Dropping it leaves the queue.
struct Ticket {
    outcomes: Arc<Outcomes>,
    place: (ShardId, RunId),
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.answer.close();
        let mut waiting = self.outcomes.lock();
        if let Some(senders) = waiting.runs.get_mut(&self.place) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                waiting.runs.remove(&self.place);
                waiting.unasked.remove(&self.place);
            }
        }
        if waiting.runs.is_empty() {
            self.outcomes.changed.notify_one();
        }
    }
}

/// The task. If it is dropped before its end, its runtime is gone: those who wait must not wait for ever.
struct Task {
    outcomes: Arc<Outcomes>,
    ended: bool,
}

impl Task {
    async fn run(mut self) {
        let outcomes = Arc::clone(&self.outcomes);
        // Subscribed before the first look, so that no run ends unseen between the two.
        let mut hints = Hints { receiver: Some(outcomes.store.hints()) };
        let mut poll = outcomes.host.sleep(outcomes.poll_interval);
        let mut look = Look::default();
        while let Some(runs) = outcomes.take(&look) {
            let began = outcomes.host.monotonic();
            outcomes.ask(&runs).await;
            if look.all {
                poll = outcomes.host.sleep(outcomes.poll_interval);
            }
            // Rested as long as was worked: however many runs end, half of one connection is enough for them, and
            // the more come together in the next round.
            let took = outcomes.host.monotonic().saturating_sub(began);
            if !took.is_zero() {
                outcomes.host.sleep(took.min(outcomes.poll_interval)).await;
            }
            look = outcomes.next(&mut hints, &mut poll).await;
        }
        self.ended = true;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.ended {
            let mut waiting = self.outcomes.lock();
            waiting.task = false;
            waiting.unasked.clear();
            // Dropped senders wake those who wait.
            waiting.runs.clear();
        }
    }
}

impl Outcomes {
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

/// The same error for one more of those who wait.
pub(super) fn same_error(error: &StoreError) -> StoreError {
    match error {
        StoreError::Fenced { reason } => StoreError::fenced(reason),
        StoreError::Conflict { reason } => StoreError::conflict(reason),
        StoreError::Unavailable { reason, .. } => StoreError::unavailable(reason),
        StoreError::Held { reason } => StoreError::held(reason),
        StoreError::Corrupt { reason } => StoreError::corrupt(reason),
        StoreError::Misconfigured { reason } => StoreError::misconfigured(reason),
        StoreError::LimitExceeded { reason } => StoreError::limit_exceeded(reason),
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcomes").field("awaited", &self.lock().runs.len()).finish_non_exhaustive()
    }
}
