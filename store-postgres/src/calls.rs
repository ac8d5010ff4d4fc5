//! A session's implementation of the seam: which file makes each call. It must not decide anything itself.

use async_trait::async_trait;
use pgworkflows_core::store::{
    Append, Appended, Claim, ClaimTasks, Claimed, ClaimedTasks, Due, DueRuns, Heartbeat, HeartbeatAnswer,
    InboxPage, InboxRead, Load, Loaded, Release, ReturnTasks, Session, SettleTasks, Settled, StoreError,
    TaskId, Unparked, UnparkedRuns, Withdrawal,
};

use crate::session::PostgresSession;
use crate::{append, inbox, lease, partition, recover, tasks};

#[async_trait]
impl Session for PostgresSession {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        lease::claim(self, claim).await
    }

    async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, StoreError> {
        let answer = lease::heartbeat(self, heartbeat).await?;
        partition::make_ahead(self, answer.now).await;
        Ok(answer)
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        append::append(self, append).await
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        inbox::read(self, read).await
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<UnparkedRuns, StoreError> {
        recover::unparked(self, unparked).await
    }

    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        recover::load(self, load).await
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        recover::due_runs(self, due).await
    }

    async fn release(&mut self, release: &Release) -> Result<(), StoreError> {
        lease::release(self, release).await
    }

    async fn claim_tasks(&mut self, claim: &ClaimTasks) -> Result<ClaimedTasks, StoreError> {
        tasks::claim(self, claim).await
    }

    async fn settle_tasks(&mut self, settle: &SettleTasks) -> Result<Vec<Settled>, StoreError> {
        tasks::settle(self, settle).await
    }

    async fn return_tasks(&mut self, returned: &ReturnTasks) -> Result<(), StoreError> {
        tasks::give_back(self, returned).await
    }

    async fn withdraw_tasks(&mut self, withdrawals: &[Withdrawal]) -> Result<Vec<TaskId>, StoreError> {
        tasks::withdraw(self, withdrawals).await
    }
}
