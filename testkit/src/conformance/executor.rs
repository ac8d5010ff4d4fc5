//! The executor of the cases about tasks. It must not hide a call of the seam behind more than a name.

use std::time::Duration;

use bytes::Bytes;
use pgworkflows_core::id::ExecutorId;
use pgworkflows_core::store::{
    ClaimTasks, ClaimedTasks, ReturnTasks, ReturnedTask, Session, SettleTasks, Settled, StoreError, TaskClaim,
};

use super::fixture::Fixture;
use super::writer::MANY_BYTES;

/// An executor that serves one activity queue and knows one activity.
pub(super) struct Executor {
    pub(super) session: Box<dyn Session>,
    pub(super) id: ExecutorId,
    pub(super) renewals: u64,
    ttl: Duration,
}

impl Executor {
    pub(super) async fn new(fixture: &Fixture, ttl: Duration) -> Self {
        let session = fixture.store.session().await.expect("a session is opened");
        let mut executor = Self { session, id: ExecutorId::FIRST, renewals: 0, ttl };
        let first = ClaimTasks { executor: None, renewals: 0, ..executor.request(0, Some(ttl)) };
        let answer = executor.session.claim_tasks(&first).await.expect("a new executor is granted");
        assert_eq!((&*answer.tasks, answer.held.as_deref()), (&[][..], Some(&[][..])));
        (executor.id, executor.renewals) = (answer.executor, 1);
        executor
    }

    pub(super) fn request(&self, count: u32, renew: Option<Duration>) -> ClaimTasks {
        ClaimTasks {
            executor: Some(self.id),
            renewals: self.renewals,
            worker: "executor".to_owned(),
            renew,
            queues: vec![("gpu".into(), count)],
            activities: vec!["render".into()],
            bytes: MANY_BYTES,
        }
    }

    pub(super) async fn ask(&mut self, request: &ClaimTasks) -> ClaimedTasks {
        let answer = self.session.claim_tasks(request).await.expect("the store answers");
        assert_eq!(answer.executor, self.id);
        self.renewals += u64::from(request.renew.is_some());
        answer
    }

    /// Claims up to that many tasks.
    pub(super) async fn claim(&mut self, count: u32) -> Vec<TaskClaim> {
        let request = self.request(count, None);
        self.ask(&request).await.tasks.into_iter().map(|task| task.claim).collect()
    }

    /// Renews its lease, and returns which tasks it has.
    pub(super) async fn renew(&mut self) -> Vec<TaskClaim> {
        let request = self.request(0, Some(self.ttl));
        self.ask(&request).await.held.expect("a renewal says so")
    }

    pub(super) async fn is_fenced(&mut self) -> bool {
        let request = self.request(1, Some(self.ttl));
        matches!(self.session.claim_tasks(&request).await, Err(StoreError::Fenced { .. }))
    }

    /// Reports on tasks, none of which anybody has locked. Returns for each whether the executor had it.
    pub(super) async fn settle(&mut self, claims: &[TaskClaim]) -> Vec<bool> {
        let outcome = |claim: &TaskClaim| (*claim, Bytes::from(format!("outcome of {}", claim.task.seq)));
        let settle = SettleTasks { executor: self.id, outcomes: claims.iter().map(outcome).collect() };
        let answers = self.session.settle_tasks(&settle).await.expect("the store answers");
        assert!(!answers.contains(&Settled::Locked));
        answers.into_iter().map(|answer| answer == Settled::Told).collect()
    }

    pub(super) async fn give_back(&mut self, tasks: Vec<ReturnedTask>, ends: bool) {
        let returned = ReturnTasks { executor: self.id, tasks, ends };
        self.session.return_tasks(&returned).await.expect("the store answers");
    }
}

pub(super) fn returned(claim: TaskClaim, begun: bool) -> ReturnedTask {
    ReturnedTask { claim, begun, pause: Duration::ZERO, problem: None }
}
