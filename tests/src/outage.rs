//! A store that goes away and comes back, whatever store it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use pgworkflows::RunId;
use pgworkflows::store::{
    Append, Appended, Claim, Claimed, Due, DueRuns, Hint, InboxPage, InboxRead, Load, Loaded, Queue, Release,
    Session, Store, StoreError, StoreQuery, Submission, Submitted, Tick, Ticked, Unparked, Watch, Watched,
};
use tokio::sync::broadcast;

/// Takes a store away from those who use it, and gives it back.
#[derive(Clone, Debug, Default)]
pub struct Outage(Arc<Switches>);

#[derive(Debug, Default)]
struct Switches {
    down: AtomicBool,
    answers_to_lose: AtomicU32,
    lost: AtomicU32,
}

impl Outage {
    /// The store, as long as it is there.
    pub fn over(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(FragileStore { store, outage: self.clone() })
    }

    /// From now on nobody reaches the store.
    pub fn begin(&self) {
        self.0.down.store(true, Ordering::SeqCst);
    }

    /// The store is back.
    pub fn end(&self) {
        self.0.down.store(false, Ordering::SeqCst);
    }

    /// The next appends are applied, and their answers lost.
    pub fn lose_answers(&self, count: u32) {
        self.0.answers_to_lose.store(count, Ordering::SeqCst);
    }

    /// How many calls were refused or went unanswered.
    pub fn lost(&self) -> u32 {
        self.0.lost.load(Ordering::SeqCst)
    }

    fn pass(&self) -> Result<(), StoreError> {
        if self.0.down.load(Ordering::SeqCst) {
            self.0.lost.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::unavailable("the test took the store away"));
        }
        Ok(())
    }

    fn loses_answer(&self) -> bool {
        let left = &self.0.answers_to_lose;
        let loses = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        self.0.lost.fetch_add(u32::from(loses), Ordering::SeqCst);
        loses
    }
}

#[derive(Debug)]
struct FragileStore {
    store: Arc<dyn Store>,
    outage: Outage,
}

struct FragileSession {
    session: Box<dyn Session>,
    outage: Outage,
}

#[async_trait]
impl Store for FragileStore {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        self.outage.pass()?;
        let session = self.store.session().await?;
        Ok(Box::new(FragileSession { session, outage: self.outage.clone() }))
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        self.outage.pass()?;
        self.store.queue(name, shards).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        self.outage.pass()?;
        self.store.submit(submissions).await
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        self.outage.pass()?;
        self.store.watch(watch).await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.store.hints()
    }

    fn query(&self) -> &dyn StoreQuery {
        self.store.query()
    }
}

#[async_trait]
impl Session for FragileSession {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.outage.pass()?;
        self.session.claim(claim).await
    }

    async fn tick(&mut self, tick: &Tick) -> Result<Ticked, StoreError> {
        self.outage.pass()?;
        self.session.tick(tick).await
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.outage.pass()?;
        let answer = self.session.append(append).await;
        if answer.is_ok() && self.outage.loses_answer() {
            return Err(StoreError::unavailable("the test lost the answer"));
        }
        answer
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        self.outage.pass()?;
        self.session.read_inbox(read).await
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<Vec<RunId>, StoreError> {
        self.outage.pass()?;
        self.session.unparked(unparked).await
    }

    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        self.outage.pass()?;
        self.session.load(load).await
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        self.outage.pass()?;
        self.session.due_runs(due).await
    }

    async fn release(&mut self, release: &Release) -> Result<(), StoreError> {
        self.outage.pass()?;
        self.session.release(release).await
    }
}
