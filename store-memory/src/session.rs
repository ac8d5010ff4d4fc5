//! A session: the store with a number, by which faults can tell sessions apart. It must not keep any other state, since
//! a lease is not bound to a session.

use async_trait::async_trait;
use pgworkflows_core::store::{
    Append, Appended, Claim, ClaimTasks, Claimed, ClaimedTasks, Due, DueRuns, Heartbeat, HeartbeatAnswer,
    InboxPage, InboxRead, Load, Loaded, Release, ReturnTasks, Session, SettleTasks, Settled, StoreError,
    TaskId, Unparked, UnparkedRuns, Withdrawal,
};

use crate::faults::{Call, SessionNo};
use crate::store::MemoryStore;

#[derive(Debug)]
pub(crate) struct MemorySession {
    store: MemoryStore,
    number: Option<SessionNo>,
}

impl MemorySession {
    pub(crate) fn new(store: MemoryStore, number: SessionNo) -> Self {
        Self { store, number: Some(number) }
    }
}

#[async_trait]
impl Session for MemorySession {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.store.call(self.number, Call::Claim(claim), |state, now| state.claim(now, claim)).await
    }

    async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, StoreError> {
        self.store
            .call(self.number, Call::Heartbeat(heartbeat), |state, now| state.heartbeat(now, heartbeat))
            .await
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.store.call(self.number, Call::Append(append), |state, now| state.append(now, append)).await
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        self.store.call(self.number, Call::ReadInbox(read), |state, now| state.read_inbox(now, read)).await
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<UnparkedRuns, StoreError> {
        let call = Call::Unparked(unparked);
        self.store.call(self.number, call, |state, _| Ok(state.unparked(unparked))).await
    }

    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        self.store.call(self.number, Call::Load(load), |state, _| Ok(state.load(load))).await
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        self.store.call(self.number, Call::DueRuns(due), |state, now| Ok(state.due_runs(now, due))).await
    }

    async fn release(&mut self, release: &Release) -> Result<(), StoreError> {
        let operation = |state: &mut crate::state::State, _| {
            state.release(release);
            Ok(())
        };
        self.store.call(self.number, Call::Release(release), operation).await
    }

    async fn claim_tasks(&mut self, claim: &ClaimTasks) -> Result<ClaimedTasks, StoreError> {
        let call = Call::ClaimTasks(claim);
        self.store.call(self.number, call, |state, now| state.claim_tasks(now, claim)).await
    }

    async fn settle_tasks(&mut self, settle: &SettleTasks) -> Result<Vec<Settled>, StoreError> {
        let call = Call::SettleTasks(settle);
        self.store.call(self.number, call, |state, _| Ok(state.settle_tasks(settle))).await
    }

    async fn return_tasks(&mut self, returned: &ReturnTasks) -> Result<(), StoreError> {
        let operation = |state: &mut crate::state::State, now| {
            state.return_tasks(now, returned);
            Ok(())
        };
        self.store.call(self.number, Call::ReturnTasks(returned), operation).await
    }

    /// No row is ever locked here.
    async fn withdraw_tasks(&mut self, withdrawals: &[Withdrawal]) -> Result<Vec<TaskId>, StoreError> {
        let operation = |state: &mut crate::state::State, _| {
            state.withdraw_tasks(withdrawals);
            Ok(Vec::new())
        };
        self.store.call(self.number, Call::WithdrawTasks(withdrawals), operation).await
    }
}
