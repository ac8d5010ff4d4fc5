//! A session's implementation of the seam: which file makes each call, and whether it writes. It must not decide anything itself.

use std::sync::Arc;

use async_trait::async_trait;
use pgworkflows_core::store::{
    Append, Appended, Claim, ClaimTasks, Claimed, ClaimedTasks, Due, DueRuns, Heartbeat, HeartbeatAnswer,
    InboxPage, InboxRead, Load, Loaded, Release, ReturnTasks, Session, SettleTasks, Settled, StoreError,
    TaskId, Unparked, UnparkedRuns, Withdrawal,
};

use crate::store::Shared;
use crate::{append, inbox, lease, recover, tasks};

/// A session. It has nothing of its own, since all of a process write through one connection, and share those that read.
pub(crate) struct SqliteSession(pub(crate) Arc<Shared>);

#[async_trait]
impl Session for SqliteSession {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        let claim = claim.clone();
        self.0.writer.call(0, async move |transaction| lease::claim(transaction, &claim).await).await
    }

    async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, StoreError> {
        let heartbeat = heartbeat.clone();
        self.0.writer.call(0, async move |transaction| lease::heartbeat(transaction, &heartbeat).await).await
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        let (bytes, append) = (append::bytes(append), append.clone());
        self.0.writer.call(bytes, async move |transaction| append::append(transaction, &append).await).await
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        inbox::read(&mut *self.0.readers.take().await?, read).await
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<UnparkedRuns, StoreError> {
        recover::unparked(&mut *self.0.readers.take().await?, unparked).await
    }

    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        recover::load(&mut *self.0.readers.take().await?, load).await
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        recover::due_runs(&mut *self.0.readers.take().await?, due).await
    }

    async fn release(&mut self, release: &Release) -> Result<(), StoreError> {
        let release = *release;
        self.0.writer.call(0, async move |transaction| lease::release(transaction, &release).await).await
    }

    async fn claim_tasks(&mut self, claim: &ClaimTasks) -> Result<ClaimedTasks, StoreError> {
        let claim = claim.clone();
        self.0.writer.call(0, async move |transaction| tasks::claim(transaction, &claim).await).await
    }

    async fn settle_tasks(&mut self, settle: &SettleTasks) -> Result<Vec<Settled>, StoreError> {
        let bytes = settle.outcomes.iter().map(|(_, body)| body.len()).sum();
        let settle = settle.clone();
        self.0.writer.call(bytes, async move |transaction| tasks::settle(transaction, &settle).await).await
    }

    async fn return_tasks(&mut self, returned: &ReturnTasks) -> Result<(), StoreError> {
        let returned = returned.clone();
        self.0.writer.call(0, async move |transaction| tasks::give_back(transaction, &returned).await).await
    }

    async fn withdraw_tasks(&mut self, withdrawals: &[Withdrawal]) -> Result<Vec<TaskId>, StoreError> {
        let withdrawals = withdrawals.to_vec();
        self.0.writer.call(0, async move |transaction| tasks::withdraw(transaction, &withdrawals).await).await
    }
}
