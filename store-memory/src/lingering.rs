//! Requests that take effect later than their callers know. It must not know why a request lingers.

use pgworkflows_core::Timestamp;
use pgworkflows_core::store::{
    Append, Claim, ClaimTasks, Heartbeat, Release, ReturnTasks, SettleTasks, Submission, Withdrawal,
};

use crate::faults::Call;
use crate::state::State;
use crate::state::transaction::SubmitStep;

/// A request that is still in flight although its caller gave it up.
pub(crate) enum Lingering {
    Queue(String, u16),
    Submit(Vec<Submission>),
    Claim(Claim),
    Heartbeat(Heartbeat),
    Append(Box<Append>),
    Release(Release),
    ClaimTasks(ClaimTasks),
    SettleTasks(SettleTasks),
    ReturnTasks(ReturnTasks),
    WithdrawTasks(Vec<Withdrawal>),
}

impl Lingering {
    /// The request, if it can have an effect.
    pub(crate) fn of(call: Call<'_>) -> Option<Self> {
        match call {
            Call::Queue { name, shards } => Some(Self::Queue(name.to_owned(), shards)),
            Call::Submit(submissions) => Some(Self::Submit(submissions.to_vec())),
            Call::Claim(claim) => Some(Self::Claim(claim.clone())),
            Call::Heartbeat(heartbeat) => Some(Self::Heartbeat(heartbeat.clone())),
            Call::Append(append) => Some(Self::Append(Box::new((*append).clone()))),
            Call::Release(release) => Some(Self::Release(*release)),
            Call::ClaimTasks(claim) => Some(Self::ClaimTasks(claim.clone())),
            Call::SettleTasks(settle) => Some(Self::SettleTasks(settle.clone())),
            Call::ReturnTasks(returned) => Some(Self::ReturnTasks(returned.clone())),
            Call::WithdrawTasks(tasks) => Some(Self::WithdrawTasks(tasks.to_vec())),
            Call::Session
            | Call::Watch(_)
            | Call::ReadInbox(_)
            | Call::Unparked(_)
            | Call::Load(_)
            | Call::DueRuns(_)
            | Call::Describe(_)
            | Call::DescribeQueue(_)
            | Call::Queues
            | Call::QueuesOf(_)
            | Call::Find { .. }
            | Call::KeyedRuns(_)
            | Call::List { .. }
            | Call::History(_)
            | Call::View { .. }
            | Call::ActivityQueues => None,
        }
    }

    /// Takes effect. The answer is dropped.
    pub(crate) fn take_effect(self, state: &mut State, now: Timestamp) {
        match self {
            Self::Queue(name, shards) => drop(state.queue(now, &name, shards)),
            Self::Submit(submissions) => submit(state, &submissions),
            Self::Claim(claim) => drop(state.claim(now, &claim)),
            Self::Heartbeat(heartbeat) => drop(state.heartbeat(now, &heartbeat)),
            Self::Append(append) => drop(state.append(now, &append)),
            Self::Release(release) => state.release(&release),
            Self::ClaimTasks(claim) => drop(state.claim_tasks(now, &claim)),
            Self::SettleTasks(settle) => drop(state.settle_tasks(&settle)),
            Self::ReturnTasks(returned) => state.return_tasks(now, &returned),
            Self::WithdrawTasks(tasks) => state.withdraw_tasks(&tasks),
        }
    }
}

/// Submits without waiting: if another open transaction blocks it, it is rolled back, as by a lock timeout.
fn submit(state: &mut State, submissions: &[Submission]) {
    let transaction = state.begin();
    let is_done = |step| matches!(step, Ok(SubmitStep::Done(_)));
    if submissions.iter().all(|submission| is_done(state.submit(transaction, submission))) {
        drop(state.commit(transaction));
    } else {
        state.roll_back(transaction);
    }
}
