//! A store that notes how long each append takes, from the request to the answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows::store::{
    Append, Appended, Claim, Claimed, Due, DueRuns, Hint, InboxPage, InboxRead, Load, Loaded, Queue, Release,
    Session, Store, StoreError, StoreQuery, Submission, Submitted, Tick, Ticked, Unparked, Watch, Watched,
};
use pgworkflows::{PostgresStore, RunId};
use tokio::sync::broadcast;
use tokio::time::Instant;

/// The Postgres store with a watch.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    store: PostgresStore,
    appends: Arc<Mutex<Vec<Duration>>>,
}

impl Timed {
    pub(crate) fn new(store: PostgresStore) -> Self {
        Self { store, appends: Arc::default() }
    }

    /// How long the appends took since this was last asked.
    pub(crate) fn take_appends(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.appends.lock().unwrap())
    }
}

#[async_trait]
impl Store for Timed {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        let session = self.store.session().await?;
        Ok(Box::new(TimedSession { session, appends: Arc::clone(&self.appends) }))
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

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.store.hints()
    }

    fn query(&self) -> &dyn StoreQuery {
        self.store.query()
    }
}

struct TimedSession {
    session: Box<dyn Session>,
    appends: Arc<Mutex<Vec<Duration>>>,
}

#[async_trait]
impl Session for TimedSession {
    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        let begun = Instant::now();
        let appended = self.session.append(append).await;
        self.appends.lock().unwrap().push(begun.elapsed());
        appended
    }

    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.session.claim(claim).await
    }

    async fn tick(&mut self, tick: &Tick) -> Result<Ticked, StoreError> {
        self.session.tick(tick).await
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        self.session.read_inbox(read).await
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<Vec<RunId>, StoreError> {
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
}
