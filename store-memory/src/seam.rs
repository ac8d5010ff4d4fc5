//! The store's implementation of the seam: thin asynchronous wrappers around the state machine. It must not decide
//! anything itself.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use pgworkflows_core::RunId;
use pgworkflows_core::store::{
    ActivityQueueInfo, FoundView, Hint, HintKind, KeyPage, KeyedRun, Load, Loaded, Queue, QueueDescription,
    RunDescription, RunFilter, RunPage, Session, Store, StoreError, StoreQuery, Submission, Submitted,
    Switchboard, Watch, Watched,
};
use tokio::sync::broadcast;

use crate::faults::{Call, SessionNo};
use crate::session::MemorySession;
use crate::store::MemoryStore;

impl MemoryStore {
    /// One delivery of a submission, in a separate transaction that passes the commit point before it commits.
    async fn submit_once(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        let mut transaction = self.begin();
        let answers = transaction.submit(submissions).await?;
        self.commit(None, Call::Submit(submissions)).await?;
        transaction.commit()?;
        Ok(answers)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        let number = SessionNo(self.0.sessions.fetch_add(1, Ordering::Relaxed) + 1);
        let session = MemorySession::new(self.clone(), number);
        self.call(Some(number), Call::Session, |_, _| Ok(())).await?;
        Ok(Box::new(session))
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        self.call(None, Call::Queue { name, shards }, |state, now| state.queue(now, name, shards)).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        let call = Call::Submit(submissions);
        let deliveries = self.request(None, call).await?;
        let answer = self.submit_once(submissions).await;
        for _ in 1..deliveries {
            // The answer to a repeated delivery is dropped.
            let _ = self.submit_once(submissions).await;
        }
        self.acknowledge(None, call, answer).await
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        self.call(None, Call::Watch(watch), |state, _| Ok(state.watch(watch))).await
    }

    fn hints(&self, kind: HintKind) -> broadcast::Receiver<Hint> {
        self.0.hints.listen(kind)
    }

    fn query(&self) -> &dyn StoreQuery {
        self
    }

    fn switchboard(&self) -> Option<Switchboard> {
        Some(self.0.switchboard.clone())
    }
}

#[async_trait]
impl StoreQuery for MemoryStore {
    async fn describe(&self, run: RunId) -> Result<Option<RunDescription>, StoreError> {
        self.call(None, Call::Describe(run), |state, _| Ok(state.describe(run))).await
    }

    async fn describe_queue(&self, name: &str) -> Result<Option<QueueDescription>, StoreError> {
        self.call(None, Call::DescribeQueue(name), |state, now| Ok(state.describe_queue(now, name))).await
    }

    async fn queues_of(&self, workflow: &str) -> Result<Vec<String>, StoreError> {
        self.call(None, Call::QueuesOf(workflow), |state, now| Ok(state.queues_of(now, workflow))).await
    }

    async fn queues(&self) -> Result<Vec<Queue>, StoreError> {
        self.call(None, Call::Queues, |state, now| Ok(state.queues(now))).await
    }

    async fn find(&self, workflow: &str, key: &str) -> Result<Option<RunId>, StoreError> {
        self.call(None, Call::Find { workflow, key }, |state, _| Ok(state.find(workflow, key))).await
    }

    async fn keyed_runs(&self, page: &KeyPage) -> Result<Vec<KeyedRun>, StoreError> {
        self.call(None, Call::KeyedRuns(page), |state, _| Ok(state.keyed_runs(page))).await
    }

    async fn horizon(&self, filter: &RunFilter, page: &RunPage) -> Result<Option<RunId>, StoreError> {
        self.call(None, Call::List { filter, page }, |state, _| Ok(state.horizon(filter, page))).await
    }

    async fn list(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<RunDescription>, StoreError> {
        self.call(None, Call::List { filter, page }, |state, _| Ok(state.list(filter, page))).await
    }

    async fn load(&self, load: &Load) -> Result<Loaded, StoreError> {
        self.call(None, Call::History(load), |state, _| Ok(state.load(load))).await
    }

    async fn view(&self, run: RunId, view: &str) -> Result<Option<FoundView>, StoreError> {
        self.call(None, Call::View { run, view }, |state, _| Ok(state.view(run, view))).await
    }

    async fn activity_queues(&self) -> Result<Vec<ActivityQueueInfo>, StoreError> {
        self.call(None, Call::ActivityQueues, |state, now| Ok(state.activity_queues(now))).await
    }
}
