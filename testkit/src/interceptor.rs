//! A store that lets a test intercept its calls, and forwards everything else.
#![deny(clippy::missing_trait_methods)]

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pgworkflows_core::store::{
    Append, Appended, Claim, ClaimTasks, Claimed, ClaimedTasks, Due, DueRuns, Heartbeat, HeartbeatAnswer,
    Hint, HintKind, InboxPage, InboxRead, Load, Loaded, Queue, Release, ReturnTasks, Session, SessionsWanted,
    SettleTasks, Settled, Store, StoreError, StoreQuery, Submission, Submitted, Switchboard, TaskId,
    Unparked, UnparkedRuns, Watch, Watched, Withdrawal,
};
use tokio::sync::broadcast;

/// What a test does when a store is called.
#[async_trait]
pub trait Interceptor: fmt::Debug + Send + Sync + 'static {
    /// Called before each call of the store.
    ///
    /// # Errors
    /// An error becomes the answer of that call.
    fn before_call(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Called instead of an append. By default, it forwards the append to `session`.
    ///
    /// # Errors
    /// Returns the errors of the session, or errors that the test injects.
    async fn append(&self, session: &mut dyn Session, append: &Append) -> Result<Appended, StoreError> {
        session.append(append).await
    }

    /// Called instead of a read of histories. By default, it forwards the read to `session`.
    ///
    /// # Errors
    /// Returns the errors of the session, or errors that the test injects.
    async fn load(&self, session: &mut dyn Session, load: &Load) -> Result<Loaded, StoreError> {
        session.load(load).await
    }
}

/// A store or a session whose calls are intercepted.
struct Intercepted<S> {
    inner: S,
    interceptor: Arc<dyn Interceptor>,
}

/// A store whose calls go through the interceptor.
pub fn intercept(store: impl Store, interceptor: Arc<dyn Interceptor>) -> Arc<dyn Store> {
    Arc::new(Intercepted { inner: store, interceptor })
}

#[async_trait]
impl<S: Store> Store for Intercepted<S> {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        self.interceptor.before_call()?;
        Ok(Box::new(Intercepted {
            inner: self.inner.session().await?,
            interceptor: Arc::clone(&self.interceptor),
        }))
    }

    async fn check_room(&self, wanted: SessionsWanted) -> Result<(), StoreError> {
        self.interceptor.before_call()?;
        self.inner.check_room(wanted).await
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        self.interceptor.before_call()?;
        self.inner.queue(name, shards).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        self.interceptor.before_call()?;
        self.inner.submit(submissions).await
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        self.interceptor.before_call()?;
        self.inner.watch(watch).await
    }

    fn hints(&self, kind: HintKind) -> broadcast::Receiver<Hint> {
        self.inner.hints(kind)
    }

    fn query(&self) -> &dyn StoreQuery {
        self.inner.query()
    }

    fn switchboard(&self) -> Option<Switchboard> {
        self.inner.switchboard()
    }
}

#[async_trait]
impl Session for Intercepted<Box<dyn Session>> {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.interceptor.before_call()?;
        self.inner.claim(claim).await
    }

    async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, StoreError> {
        self.interceptor.before_call()?;
        self.inner.heartbeat(heartbeat).await
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.interceptor.before_call()?;
        self.interceptor.append(&mut *self.inner, append).await
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        self.interceptor.before_call()?;
        self.inner.read_inbox(read).await
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<UnparkedRuns, StoreError> {
        self.interceptor.before_call()?;
        self.inner.unparked(unparked).await
    }

    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        self.interceptor.before_call()?;
        self.interceptor.load(&mut *self.inner, load).await
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        self.interceptor.before_call()?;
        self.inner.due_runs(due).await
    }

    async fn release(&mut self, release: &Release) -> Result<(), StoreError> {
        self.interceptor.before_call()?;
        self.inner.release(release).await
    }

    async fn claim_tasks(&mut self, claim: &ClaimTasks) -> Result<ClaimedTasks, StoreError> {
        self.interceptor.before_call()?;
        self.inner.claim_tasks(claim).await
    }

    async fn settle_tasks(&mut self, settle: &SettleTasks) -> Result<Vec<Settled>, StoreError> {
        self.interceptor.before_call()?;
        self.inner.settle_tasks(settle).await
    }

    async fn return_tasks(&mut self, returned: &ReturnTasks) -> Result<(), StoreError> {
        self.interceptor.before_call()?;
        self.inner.return_tasks(returned).await
    }

    async fn withdraw_tasks(&mut self, withdrawals: &[Withdrawal]) -> Result<Vec<TaskId>, StoreError> {
        self.interceptor.before_call()?;
        self.inner.withdraw_tasks(withdrawals).await
    }
}

impl<S> fmt::Debug for Intercepted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intercepted").field("interceptor", &self.interceptor).finish_non_exhaustive()
    }
}
