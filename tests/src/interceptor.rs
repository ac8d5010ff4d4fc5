//! A store around another one, in which a test interferes. It forwards every call, so that a test interferes with
//! nothing but what it names.
#![deny(clippy::missing_trait_methods)]

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pgworkflows::RunId;
use pgworkflows::store::{
    Append, Appended, Claim, Claimed, Due, DueRuns, Heartbeat, HeartbeatAnswer, Hint, InboxPage, InboxRead,
    Load, Loaded, Queue, Release, Session, SessionsWanted, Store, StoreError, StoreQuery, Submission,
    Submitted, Switchboard, Unparked, Watch, Watched,
};
use tokio::sync::broadcast;

/// What a test does at the calls of a store.
#[async_trait]
pub trait Interference: fmt::Debug + Send + Sync + 'static {
    /// Before each call: an error is its answer.
    ///
    /// # Errors
    /// As the test wants it.
    fn before_call(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// In the place of an append, which goes to `session` by default.
    ///
    /// # Errors
    /// Those of the session, and what the test makes of them.
    async fn append(&self, session: &mut dyn Session, append: &Append) -> Result<Appended, StoreError> {
        session.append(append).await
    }
}

/// A store, or a session of it, in which a test interferes.
struct Around<S> {
    inner: S,
    test: Arc<dyn Interference>,
}

/// The store with a test's interference.
pub fn around(store: impl Store, test: Arc<dyn Interference>) -> Arc<dyn Store> {
    Arc::new(Around { inner: store, test })
}

#[async_trait]
impl<S: Store> Store for Around<S> {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        self.test.before_call()?;
        Ok(Box::new(Around { inner: self.inner.session().await?, test: Arc::clone(&self.test) }))
    }

    async fn check_room(&self, wanted: SessionsWanted) -> Result<(), StoreError> {
        self.test.before_call()?;
        self.inner.check_room(wanted).await
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        self.test.before_call()?;
        self.inner.queue(name, shards).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        self.test.before_call()?;
        self.inner.submit(submissions).await
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        self.test.before_call()?;
        self.inner.watch(watch).await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.inner.hints()
    }

    fn query(&self) -> &dyn StoreQuery {
        self.inner.query()
    }

    fn switchboard(&self) -> Option<Switchboard> {
        self.inner.switchboard()
    }
}

#[async_trait]
impl Session for Around<Box<dyn Session>> {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.test.before_call()?;
        self.inner.claim(claim).await
    }

    async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, StoreError> {
        self.test.before_call()?;
        self.inner.heartbeat(heartbeat).await
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.test.before_call()?;
        self.test.append(&mut *self.inner, append).await
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        self.test.before_call()?;
        self.inner.read_inbox(read).await
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<Vec<RunId>, StoreError> {
        self.test.before_call()?;
        self.inner.unparked(unparked).await
    }

    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        self.test.before_call()?;
        self.inner.load(load).await
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        self.test.before_call()?;
        self.inner.due_runs(due).await
    }

    async fn release(&mut self, release: &Release) -> Result<(), StoreError> {
        self.test.before_call()?;
        self.inner.release(release).await
    }
}

impl<S> fmt::Debug for Around<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Around").field("test", &self.test).finish_non_exhaustive()
    }
}
