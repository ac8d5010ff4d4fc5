//! Tasks and their executors: who has which task, and what becomes of the tasks of an executor that is lost. It must not know
//! what a task does.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{ExecutorId, Name};
use pgworkflows_core::store::{
    ActivityQueueInfo, ClaimTasks, ClaimedTask, ClaimedTasks, Hint, NewTask, QueueHash, ReturnTasks,
    ReturnedTask, SettleTasks, Settled, StoreError, Submission, TaskClaim, TaskId, Withdrawal, executor_of,
    queue_of,
};

use super::State;
use crate::fact::Fact;

/// Every such renewal of an executor looks for tasks of runs that are over, as on PostgreSQL.
const SWEEP_EVERY: u64 = 16;

/// The tasks, and the executors that have them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    rows: BTreeMap<TaskId, Task>,
    /// The tasks that nobody has, by queue and activity, those that are ready first before others.
    free: BTreeMap<(Name, Name), BTreeSet<(Timestamp, TaskId)>>,
    executors: BTreeMap<ExecutorId, Executor>,
    pub(super) last_executor: u64,
}

#[derive(Clone, Debug)]
struct Task {
    new: NewTask,
    enqueued_at: Timestamp,
    /// Before this time nobody claims it.
    ready_at: Timestamp,
    executor: Option<ExecutorId>,
    claims: u32,
    losses: u32,
    problem: Option<String>,
}

#[derive(Clone, Debug)]
struct Executor {
    expires_at: Timestamp,
    /// The number of the last renewal.
    renewals: u64,
    queues: BTreeSet<Name>,
    activities: BTreeSet<Name>,
    tasks: BTreeSet<TaskId>,
}

impl Tasks {
    pub(super) fn contains(&self, task: TaskId) -> bool {
        self.rows.contains_key(&task)
    }

    /// Lets every lease expire.
    pub(super) fn expire(&mut self, now: Timestamp) {
        for executor in self.executors.values_mut() {
            executor.expires_at = executor.expires_at.min(now);
        }
    }

    fn free_of(&mut self, task: TaskId) -> Option<(&mut BTreeSet<(Timestamp, TaskId)>, Timestamp)> {
        let row = self.rows.get(&task)?;
        let (kind, ready_at) = ((row.new.queue.clone(), row.new.activity.clone()), row.ready_at);
        Some((self.free.entry(kind).or_default(), ready_at))
    }

    fn free(&mut self, task: TaskId) {
        if let Some(executor) = self.rows.get_mut(&task).and_then(|row| row.executor.take()) {
            self.executors.get_mut(&executor).map(|executor| executor.tasks.remove(&task));
        }
        if let Some((free, ready_at)) = self.free_of(task) {
            free.insert((ready_at, task));
        }
    }

    fn delete(&mut self, task: TaskId) -> Option<Task> {
        if let Some((free, ready_at)) = self.free_of(task) {
            free.remove(&(ready_at, task));
        }
        let row = self.rows.remove(&task)?;
        let executor = row.executor.and_then(|executor| self.executors.get_mut(&executor));
        executor.map(|executor| executor.tasks.remove(&task));
        Some(row)
    }

    /// Whether an executor has a task by this very claim.
    fn has(&self, executor: ExecutorId, claim: TaskClaim) -> bool {
        let row = self.rows.get(&claim.task);
        row.is_some_and(|row| row.executor == Some(executor) && row.claims == claim.number)
    }

    /// The ready tasks of some activities in a queue: first those of the activity whose first task was ready first.
    fn ready(&self, now: Timestamp, queue: &Name, activities: &[Name]) -> Vec<Vec<TaskId>> {
        let of_activity = |activity: &Name| self.free.get(&(queue.clone(), activity.clone()));
        let mut kinds: Vec<_> = activities.iter().filter_map(of_activity).collect();
        kinds.sort_by_key(|tasks| tasks.first().copied());
        let ready = |tasks: &BTreeSet<(Timestamp, TaskId)>| {
            let ready = tasks.iter().take_while(|(ready_at, _)| *ready_at <= now);
            ready.map(|(_, task)| *task).collect()
        };
        kinds.into_iter().map(ready).collect()
    }
}

impl State {
    /// Inserts the tasks of an append. One that an executor has which is over by now counts as lost.
    pub(super) fn insert_tasks(&mut self, now: Timestamp, tasks: &[NewTask]) {
        for new in tasks {
            let row = Task {
                new: new.clone(),
                enqueued_at: now,
                ready_at: now,
                executor: new.executor,
                claims: u32::from(new.executor.is_some()),
                losses: 0,
                problem: None,
            };
            self.tasks.rows.insert(new.id, row);
            let is_over = |executor| !self.tasks.executors.contains_key(&executor);
            let is_orphan = executor_of(&new.queue).is_some_and(is_over);
            match new.executor.map(|executor| self.tasks.executors.get_mut(&executor)) {
                Some(Some(executor)) => _ = executor.tasks.insert(new.id),
                Some(None) => self.lose_task(new.id),
                None if is_orphan => self.fail_task(new.id),
                None => self.tasks.free(new.id),
            }
            self.hint(Hint::Tasks(QueueHash::of(&new.queue)));
        }
    }

    /// Renews an executor's lease, and claims tasks under it.
    pub(crate) fn claim_tasks(
        &mut self,
        now: Timestamp,
        claim: &ClaimTasks,
    ) -> Result<ClaimedTasks, StoreError> {
        let id = match claim.executor {
            Some(id) => match self.tasks.executors.get(&id) {
                Some(executor) if executor.renewals >= claim.renewals => id,
                Some(_) => {
                    return Err(StoreError::fenced(format!(
                        "renewal {} of executor {id} is missing: commits were lost",
                        claim.renewals
                    )));
                }
                None => {
                    return Err(StoreError::fenced(format!(
                        "executor {id} was fenced, or is not known here"
                    )));
                }
            },
            None => self.make_executor(now),
        };
        let mut held = None;
        if let Some(ttl) = claim.renew {
            let executor = self.tasks.executors.get_mut(&id).expect("it was checked");
            let until = now.saturating_add(ttl);
            executor.expires_at = until;
            executor.renewals = executor.renewals.max(claim.renewals + 1);
            executor.queues = claim.queues.iter().map(|(queue, _)| queue.clone()).collect();
            executor.activities = claim.activities.iter().cloned().collect();
            self.facts.push(|| Fact::ExecutorRenewed { executor: id, until });
            let sweeps = executor.renewals % SWEEP_EVERY == 1;
            self.fence_executors(now, Some(id));
            if sweeps {
                self.sweep_tasks();
            }
            let tasks = self.tasks.executors[&id].tasks.iter();
            held = Some(tasks.map(|task| self.claim_of(*task)).collect());
        }
        let (mut tasks, mut bytes, mut more) = (Vec::new(), 0, false);
        'queues: for (queue, count) in &claim.queues {
            let mut left = *count as usize;
            for of_activity in self.tasks.ready(now, queue, &claim.activities) {
                for task in of_activity.into_iter().take(left) {
                    if !self.is_open(task.run) {
                        self.delete_task(task, None);
                        more = true;
                        continue;
                    }
                    let size = self.tasks.rows[&task].new.body.len();
                    if !tasks.is_empty() && bytes + size > claim.bytes {
                        more = true;
                        break 'queues;
                    }
                    bytes += size;
                    left -= 1;
                    tasks.push(self.take_task(id, task));
                }
            }
        }
        Ok(ClaimedTasks { executor: id, tasks, held, more, now })
    }

    fn make_executor(&mut self, now: Timestamp) -> ExecutorId {
        self.tasks.last_executor += 1;
        let id = ExecutorId::new(self.tasks.last_executor);
        let executor = Executor {
            expires_at: now,
            renewals: 0,
            queues: BTreeSet::new(),
            activities: BTreeSet::new(),
            tasks: BTreeSet::new(),
        };
        self.tasks.executors.insert(id, executor);
        id
    }

    fn claim_of(&self, task: TaskId) -> TaskClaim {
        TaskClaim { task, number: self.tasks.rows[&task].claims }
    }

    fn take_task(&mut self, executor: ExecutorId, task: TaskId) -> ClaimedTask {
        if let Some((free, ready_at)) = self.tasks.free_of(task) {
            free.remove(&(ready_at, task));
        }
        let row = self.tasks.rows.get_mut(&task).expect("it is free");
        row.claims += 1;
        row.executor = Some(executor);
        row.problem = None;
        let (queue, body) = (row.new.queue.clone(), row.new.body.clone());
        self.tasks.executors.get_mut(&executor).map(|executor| executor.tasks.insert(task));
        let claim = self.claim_of(task);
        self.facts.push(|| Fact::TaskClaimed { claim, executor });
        ClaimedTask { claim, queue, body }
    }

    fn delete_task(&mut self, task: TaskId, settled_by: Option<ExecutorId>) -> Option<Task> {
        let row = self.tasks.delete(task)?;
        self.facts.push(|| Fact::TaskDeleted { task, settled_by });
        Some(row)
    }

    /// Ends the leases of executors that have expired.
    pub(super) fn fence_executors(&mut self, now: Timestamp, own: Option<ExecutorId>) {
        let expired = self.tasks.executors.iter();
        let expired = expired.filter(|(id, executor)| Some(**id) != own && executor.expires_at <= now);
        for id in expired.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_executor(id, false);
        }
    }

    /// An executor ends, and each task that it has is lost.
    fn end_executor(&mut self, id: ExecutorId, by_itself: bool) {
        let Some(executor) = self.tasks.executors.get(&id) else { return };
        for task in executor.tasks.clone() {
            self.lose_task(task);
        }
        // Nobody else may have those of its own queue.
        let own = queue_of(id);
        let orphans = self.tasks.free.iter().filter(|((queue, _), _)| *queue == own);
        let orphans: Vec<TaskId> =
            orphans.flat_map(|(_, tasks)| tasks.iter().map(|(_, task)| *task)).collect();
        orphans.into_iter().for_each(|task| self.fail_task(task));
        self.tasks.executors.remove(&id);
        self.facts.push(|| Fact::ExecutorEnded { executor: id, by_itself });
    }

    /// An executor was lost while it had a task: the task is free again, or its run is told.
    fn lose_task(&mut self, task: TaskId) {
        let Some(row) = self.tasks.rows.get_mut(&task) else { return };
        row.losses += 1;
        if row.losses > row.new.losses_max {
            self.fail_task(task);
        } else {
            self.tasks.free(task);
            self.facts.push(|| Fact::TaskFreed { task, lost: true });
        }
    }

    /// A task is over because it was lost: its run is told.
    fn fail_task(&mut self, task: TaskId) {
        if let Some(row) = self.delete_task(task, None) {
            let body = row.new.lost.clone();
            self.tell_run(&row, body);
        }
    }

    /// Puts the message that tells how a task ended into the inbox of its run, unless that is over.
    fn tell_run(&mut self, row: &Task, body: Bytes) {
        let run = row.new.id.run;
        if self.is_open(run) && !self.inbox.holds(row.new.message) {
            let number = self.inbox.next_number();
            let submission = Submission { message: row.new.message, run, body, opens: None };
            self.deliver(vec![(number, submission)]);
        }
    }

    /// Ends tasks, and tells their runs how.
    pub(crate) fn settle_tasks(&mut self, settle: &SettleTasks) -> Vec<Settled> {
        let settled = settle.outcomes.iter().map(|(claim, body)| {
            if !self.tasks.has(settle.executor, *claim) {
                return Settled::Late;
            }
            if let Some(row) = self.delete_task(claim.task, Some(settle.executor)) {
                self.tell_run(&row, body.clone());
            }
            Settled::Told
        });
        settled.collect()
    }

    /// Gives tasks back, and ends the executor if asked to.
    pub(crate) fn return_tasks(&mut self, now: Timestamp, returned: &ReturnTasks) {
        for ReturnedTask { claim, begun, pause, problem } in &returned.tasks {
            if !self.tasks.has(returned.executor, *claim) {
                continue;
            }
            let row = self.tasks.rows.get_mut(&claim.task).expect("the executor has it");
            if *begun && row.new.losses_max == 0 {
                self.fail_task(claim.task);
                continue;
            }
            row.problem.clone_from(problem);
            if !pause.is_zero() {
                row.ready_at = now.saturating_add(*pause);
            }
            let queue = QueueHash::of(&row.new.queue);
            self.tasks.free(claim.task);
            self.facts.push(|| Fact::TaskFreed { task: claim.task, lost: false });
            self.hint(Hint::Tasks(queue));
        }
        if returned.ends {
            self.end_executor(returned.executor, true);
        }
    }

    /// Deletes tasks whose outcome is not awaited any more, and tells their runs if asked to.
    pub(crate) fn withdraw_tasks(&mut self, withdrawals: &[Withdrawal]) {
        for Withdrawal { task, tells } in withdrawals {
            if let Some(row) = self.delete_task(*task, None)
                && let Some(body) = tells
            {
                self.tell_run(&row, body.clone());
            }
        }
    }

    /// Deletes tasks of runs that are over, of which nobody said so.
    fn sweep_tasks(&mut self) {
        let tasks = self.tasks.rows.keys().copied();
        let gone: Vec<TaskId> = tasks.filter(|task| !self.is_open(task.run)).collect();
        for task in gone {
            self.delete_task(task, None);
        }
    }

    /// The activity queues that have tasks.
    pub(crate) fn activity_queues(&self, now: Timestamp) -> Vec<ActivityQueueInfo> {
        let mut infos: BTreeMap<(Name, Name), ActivityQueueInfo> = BTreeMap::new();
        for Task { new, enqueued_at, executor, problem, .. } in self.tasks.rows.values() {
            let serves = |executor: &&Executor| {
                let knows =
                    executor.queues.contains(&new.queue) && executor.activities.contains(&new.activity);
                knows && executor.expires_at > now
            };
            let info = infos.entry((new.queue.clone(), new.activity.clone())).or_insert_with(|| {
                let executors = self.tasks.executors.values().filter(serves).count() as u32;
                ActivityQueueInfo {
                    queue: new.queue.to_string(),
                    activity: new.activity.to_string(),
                    waiting: 0,
                    claimed: 0,
                    waiting_since: None,
                    executors,
                    problem: None,
                }
            });
            if executor.is_some() {
                info.claimed += 1;
                continue;
            }
            info.waiting += 1;
            info.waiting_since =
                Some(info.waiting_since.map_or(*enqueued_at, |since| since.min(*enqueued_at)));
            if problem.is_some() {
                info.problem.clone_from(problem);
            }
        }
        infos.into_values().collect()
    }
}
