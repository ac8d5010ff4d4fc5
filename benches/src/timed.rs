//! A store that notes how long its appends take. It must not know what is appended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgworkflows::prelude::async_trait;
use pgworkflows::store::{
    Append, Appended, Claim, ClaimTasks, Claimed, ClaimedTasks, Due, DueRuns, Heartbeat, HeartbeatAnswer,
    Hint, HintKind, InboxPage, InboxRead, Load, Loaded, Queue, Release, ReturnTasks, Session, SessionsWanted,
    SettleTasks, Settled, Store, StoreError, StoreQuery, Submission, Submitted, Switchboard, TaskId,
    Unparked, UnparkedRuns, Watch, Watched, Withdrawal,
};
use tokio::sync::broadcast;

/// How long appends took. Clones are handles to the same list.
#[derive(Clone, Debug, Default)]
pub struct Appends(Arc<Mutex<Vec<Duration>>>);

impl Appends {
    /// The same store, whose appends are noted here.
    pub fn of(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(TimedStore { store, appends: self.clone() })
    }

    /// Those that were answered since the last call.
    pub fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, took: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }
}

/// A store whose appends are timed.
#[derive(Debug)]
struct TimedStore {
    store: Arc<dyn Store>,
    appends: Appends,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for TimedStore {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        let session = self.store.session().await?;
        Ok(Box::new(TimedSession { session, appends: self.appends.clone() }))
    }

    async fn check_room(&self, wanted: SessionsWanted) -> Result<(), StoreError> {
        self.store.check_room(wanted).await
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        self.store.queue(name, shards).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        self.store.submit(submissions).await
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        self.store.watch(watch).await
    }

    fn hints(&self, kind: HintKind) -> broadcast::Receiver<Hint> {
        self.store.hints(kind)
    }

    fn query(&self) -> &dyn StoreQuery {
        self.store.query()
    }

    fn switchboard(&self) -> Option<Switchboard> {
        self.store.switchboard()
    }
}

struct TimedSession {
    session: Box<dyn Session>,
    appends: Appends,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Session for TimedSession {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.session.claim(claim).await
    }

    async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, StoreError> {
        self.session.heartbeat(heartbeat).await
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        let sent = Instant::now();
        let appended = self.session.append(append).await;
        self.appends.note(sent.elapsed());
        appended
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        self.session.read_inbox(read).await
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<UnparkedRuns, StoreError> {
        self.session.unparked(unparked).await
    }

    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        self.session.load(load).await
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        self.session.due_runs(due).await
    }

    async fn release(&mut self, release: &Release) -> Result<(), StoreError> {
        self.session.release(release).await
    }

    async fn claim_tasks(&mut self, claim: &ClaimTasks) -> Result<ClaimedTasks, StoreError> {
        self.session.claim_tasks(claim).await
    }

    async fn settle_tasks(&mut self, settle: &SettleTasks) -> Result<Vec<Settled>, StoreError> {
        self.session.settle_tasks(settle).await
    }

    async fn return_tasks(&mut self, returned: &ReturnTasks) -> Result<(), StoreError> {
        self.session.return_tasks(returned).await
    }

    async fn withdraw_tasks(&mut self, withdrawals: &[Withdrawal]) -> Result<Vec<TaskId>, StoreError> {
        self.session.withdraw_tasks(withdrawals).await
    }
}
