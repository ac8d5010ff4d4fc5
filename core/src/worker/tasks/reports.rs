//! Tells the store how tasks ended, which are given back, and which are not awaited any more. What somebody has locked is
//! asked for again. It must not know what a task does.

use super::{Running, TaskLoop};
use crate::data::limits;
use crate::store::error::StoreError;
use crate::store::tasks::{SettleTasks, Settled, TaskId};

impl TaskLoop {
    /// Makes the next report, if there is one. Returns whether it was made.
    pub(super) async fn report(&self, running: &mut Running) -> Result<bool, StoreError> {
        self.ask_again(running);
        if let Some(settle) = running.held.to_settle() {
            let session = self.session(running).await?;
            let answers = self.status.tasks.watch(&*self.host, 0, session.settle_tasks(&settle)).await?;
            self.settled(running, &settle, &answers);
            return Ok(true);
        }
        if let Some(executor) = running.lease.as_ref().map(|lease| lease.id)
            && let Some(returned) = running.held.to_return(executor)
        {
            let session = self.session(running).await?;
            self.status.tasks.watch(&*self.host, 0, session.return_tasks(&returned)).await?;
            running.held.returned(&returned);
            return Ok(true);
        }
        let Some(next) = running.withdrawals.next() else { return Ok(false) };
        let session = self.session(running).await?;
        let locked = self.status.tasks.watch(&*self.host, 0, session.withdraw_tasks(&next)).await?;
        running.withdrawals.answered(next.len(), &locked);
        self.pause_for_locked(running);
        Ok(true)
    }

    /// These outcomes were reported. A transaction that has its task locked may commit or not: the task tells once it is not
    /// locked any more.
    fn settled(&self, running: &mut Running, settle: &SettleTasks, answers: &[Settled]) {
        for ((claim, _), answer) in settle.outcomes.iter().zip(answers) {
            if *answer == Settled::Late {
                let TaskId { run, seq } = claim.task;
                if self.executor.allows_line("task.late") {
                    tracing::info!(%run, task = %seq, worker = %self.worker, "the outcome of a task came too late, and is dropped");
                }
            }
        }
        running.held.settled(settle, answers);
        self.pause_for_locked(running);
    }

    /// Has what was locked asked for again, once the pause is over.
    fn ask_again(&self, running: &mut Running) {
        if running.ask_again.is_some_and(|at| at <= self.host.monotonic()) {
            running.ask_again = None;
            running.held.ask_again();
            running.withdrawals.ask_again();
        }
    }

    /// What was locked is asked for again after a pause.
    fn pause_for_locked(&self, running: &mut Running) {
        if running.held.has_locked() || running.withdrawals.has_locked() {
            running.ask_again.get_or_insert(self.host.monotonic() + limits::TASK_LOCKED_PAUSE);
        }
    }
}
