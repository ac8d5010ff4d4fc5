//! Tasks: who has which task, and how it ends. It must not know what a task does. No row is ever locked here, because transactions
//! are serial.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{EventSeq, ExecutorId, Name};
use pgworkflows_core::store::{
    ActivityQueueInfo, ClaimTasks, ClaimedTask, ClaimedTasks, Hint, NewTask, QueueHash, ReturnTasks,
    ReturnedTask, SettleTasks, Settled, StoreError, TaskClaim, TaskId, Withdrawal, executor_of,
};
use sqlx::sqlite::SqliteRow;

use crate::connection::{Connection, Listed, sql};
use crate::deliver::tell;
use crate::executors::{DELETE, EXECUTOR, Gone, delivery, end_executor, end_tasks, fence_executors, sweep};
use crate::fleet::{join, names};
use crate::lease::random_id;
use crate::transaction::{Transaction, now};
use crate::values::{Arguments, get};

/// Every such renewal of an executor looks for tasks of runs that are over, as on PostgreSQL.
const SWEEP_EVERY: u64 = 16;

const INSERT: Listed = Listed {
    text: "insert into tasks (run_id, seq, queue, activity, enqueued_at, ready_at, executor, claims, losses, losses_max,
                              message_id, body, lost) values {}",
    width: 13,
};

const VALID: Listed =
    Listed { text: "select executor from executors where not fenced and executor in (values {})", width: 1 };

const MAKE_EXECUTOR: &str = "
    insert into executors (executor, worker, renewed_at, expires_at, renewals, queues, activities)
    values (?1, ?2, ?3, ?3, 0, '', '')";

const RENEW: &str = "
    update executors set renewed_at = ?, expires_at = ?, renewals = max(renewals, ?), queues = ?, activities = ?
    where executor = ?";

const HELD: &str = "select run_id, seq, claims from tasks where executor = ? order by run_id, seq";

/// The first free task of each activity in a queue.
const HEADS: Listed = Listed {
    text: "with a (activity) as (values {})
           select t.activity from a
           cross join tasks t on t.task = (
               select k.task from tasks k
               where k.queue = ? and k.activity = a.activity and k.executor is null
               order by k.ready_at, k.run_id, k.seq limit 1)
           order by t.ready_at, t.run_id, t.seq",
    width: 1,
};

const READY: &str = "
    select t.task, t.run_id, length(t.body), exists (select 1 from open_runs o where o.run_id = t.run_id)
    from tasks t
    where t.queue = ? and t.activity = ? and t.executor is null and t.ready_at <= ?
    order by t.ready_at, t.run_id, t.seq limit ?";

const TAKE: Listed = Listed {
    text: "update tasks set executor = t.column2, claims = claims + 1, problem = null
           from (values {}) as t where task = t.column1
           returning task, run_id, seq, claims, queue, body",
    width: 2,
};

/// Of tasks that are named: those that the executor has by the very claim.
const HAD: Listed = Listed {
    text: "select t.column4, k.task, k.run_id, k.message_id, k.lost, k.losses_max, k.queue
           from (values {}) as t
           cross join tasks k on k.run_id = t.column1 and k.seq = t.column2 and k.claims = t.column3
           where k.executor = ?",
    width: 4,
};

const NAMED: Listed = Listed {
    text: "select t.column3, k.task, k.run_id, k.message_id from (values {}) as t
           cross join tasks k on k.run_id = t.column1 and k.seq = t.column2",
    width: 3,
};

const GIVE_BACK: Listed = Listed {
    text: "update tasks set executor = null, problem = t.column2, ready_at = coalesce(t.column3, ready_at)
           from (values {}) as t where task = t.column1",
    width: 3,
};

const ACTIVITY_QUEUES: &str = "
    select t.queue, t.activity, sum(t.executor is null), count(t.executor),
           min(iif(t.executor is null, t.enqueued_at, null)),
           (select p.problem from tasks p
            where p.queue = t.queue and p.activity = t.activity and p.executor is null and p.problem is not null
            order by p.run_id desc, p.seq desc limit 1)
    from tasks t group by t.queue, t.activity order by t.queue, t.activity";

const SERVING: &str = "select queues, activities from executors where not fenced and expires_at > ?";

/// Inserts the tasks of an append. One that an executor has which is over by now counts as lost.
pub(crate) async fn insert(transaction: &mut Transaction, tasks: &[NewTask]) -> Result<(), StoreError> {
    let needed = |task: &NewTask| task.executor.or_else(|| executor_of(&task.queue));
    let executors: Vec<ExecutorId> = tasks.iter().filter_map(needed).collect();
    let rows = transaction.fetch_all(&VALID, &executors, |a, executor| _ = a.add(*executor), |_| {}).await?;
    let valid = rows.iter().map(|row| get(row, 0)).collect::<Result<BTreeSet<ExecutorId>, _>>()?;
    let is_valid = |executor: &ExecutorId| valid.contains(executor);
    // A task survives if nobody in particular has to be there, or the first loss is not one too many.
    let survives = |task: &&NewTask| {
        needed(task).is_none_or(|executor| is_valid(&executor))
            || task.executor.is_some() && task.losses_max > 0
    };
    let (kept, lost): (Vec<&NewTask>, Vec<&NewTask>) = tasks.iter().partition(survives);
    let now = now();
    transaction
        .write_all(&INSERT, &kept, |a, task| {
            let NewTask { id, queue, activity, losses_max, message, body, lost, executor } = task;
            a.add(id.run).add(id.seq).add(queue.as_str()).add(activity.as_str()).add(now).add(now);
            a.add(executor.filter(is_valid)).add(u32::from(executor.is_some()));
            a.add(u32::from(executor.is_some_and(|executor| !is_valid(&executor)))).add(*losses_max);
            a.add(*message).add(&body[..]).add(&lost[..]);
        })
        .await?;
    let lost: Vec<_> = lost.iter().map(|task| delivery(task.message, task.id.run, &task.lost)).collect();
    tell(transaction, &lost).await?;
    transaction.hint_all(tasks.iter().map(|task| Hint::Tasks(QueueHash::of(&task.queue))));
    Ok(())
}

/// Renews an executor's lease, and claims tasks under it.
pub(crate) async fn claim(
    transaction: &mut Transaction,
    claim: &ClaimTasks,
) -> Result<ClaimedTasks, StoreError> {
    let now = now();
    let (id, renewals) = match claim.executor {
        Some(id) => (id, check_executor(transaction, id, claim.renewals).await?),
        None => (make_executor(transaction, now, claim).await?, 0),
    };
    let mut held = None;
    if let Some(ttl) = claim.renew {
        let renewal = renewals.max(claim.renewals + 1);
        let queues = join(claim.queues.iter().map(|(queue, _)| queue));
        let renew = sql(RENEW).bind(now).bind(now.saturating_add(ttl)).bind(renewal).bind(queues.as_str());
        transaction.execute(renew.bind(join(&claim.activities).as_str()).bind(id)).await?;
        fence_executors(transaction, now, Some(id)).await?;
        if renewal % SWEEP_EVERY == 1 {
            sweep(transaction, id).await?;
        }
        let rows = transaction.fetch(sql(HELD).bind(id)).await?;
        held = Some(rows.iter().map(|row| task_claim(row, 0)).collect::<Result<_, _>>()?);
    }
    let mut taking =
        Taking { executor: id, tasks: Vec::new(), bytes: 0, bytes_max: claim.bytes, more: false };
    'queues: for (queue, count) in &claim.queues {
        let mut left = *count as usize;
        for activity in heads(transaction, queue, &claim.activities).await? {
            if left == 0 {
                break;
            }
            if !taking.take(transaction, now, queue, &activity, &mut left).await? {
                break 'queues;
            }
        }
    }
    Ok(ClaimedTasks { executor: id, tasks: taking.tasks, held, more: taking.more, now })
}

async fn check_executor(
    transaction: &mut Transaction,
    id: ExecutorId,
    acknowledged: u64,
) -> Result<u64, StoreError> {
    match transaction.fetch_value(sql(EXECUTOR).bind(id)).await? {
        Some(renewals) if renewals >= acknowledged => Ok(renewals),
        Some(_) => Err(StoreError::fenced(format!(
            "renewal {acknowledged} of executor {id} is missing: commits were lost"
        ))),
        None => Err(StoreError::fenced(format!("executor {id} was fenced, or is not known here"))),
    }
}

async fn make_executor(
    transaction: &mut Transaction,
    now: Timestamp,
    claim: &ClaimTasks,
) -> Result<ExecutorId, StoreError> {
    let id = ExecutorId::new(random_id(transaction).await?);
    transaction.execute(sql(MAKE_EXECUTOR).bind(id).bind(claim.worker.as_str()).bind(now)).await?;
    Ok(id)
}

/// The activities that have free tasks in a queue, that whose first task was ready first before others.
async fn heads(
    transaction: &mut Transaction,
    queue: &Name,
    activities: &[Name],
) -> Result<Vec<Name>, StoreError> {
    let mut heads = Vec::new();
    // Usually all are one part. Beyond that, the order between parts does not matter much.
    let rows = transaction.fetch_all(
        &HEADS,
        activities,
        |a, activity| _ = a.add(activity.as_str()),
        |a| _ = a.add(queue.as_str()),
    );
    for row in rows.await? {
        heads.push(get(&row, 0)?);
    }
    Ok(heads)
}

/// The tasks that a claim takes.
struct Taking {
    executor: ExecutorId,
    tasks: Vec<ClaimedTask>,
    bytes: usize,
    bytes_max: usize,
    more: bool,
}

impl Taking {
    /// Takes ready tasks of an activity. Returns false if the bytes are used up.
    async fn take(
        &mut self,
        transaction: &mut Transaction,
        now: Timestamp,
        queue: &Name,
        activity: &Name,
        left: &mut usize,
    ) -> Result<bool, StoreError> {
        let ready = sql(READY).bind(queue.as_str()).bind(activity.as_str()).bind(now).bind(*left as i64);
        let (mut fits, mut taken, mut gone) = (true, Vec::new(), Vec::new());
        for row in transaction.fetch(ready).await? {
            let (task, size, is_open): (i64, u64, bool) = (get(&row, 0)?, get(&row, 2)?, get(&row, 3)?);
            if !is_open {
                // It was not withdrawn in time.
                gone.push(task);
                self.more = true;
                continue;
            }
            let is_first = self.tasks.is_empty() && taken.is_empty();
            if !is_first && self.bytes + size as usize > self.bytes_max {
                self.more = true;
                fits = false;
                break;
            }
            self.bytes += size as usize;
            taken.push(task);
        }
        *left -= taken.len();
        transaction.write_all(&DELETE, &gone, |a, task| _ = a.add(*task)).await?;
        let add = |a: &mut Arguments, task: &i64| _ = a.add(*task).add(self.executor);
        let rows = transaction.fetch_all(&TAKE, &taken, add, |_| {}).await?;
        let claimed = |row| {
            let task = ClaimedTask { claim: task_claim(row, 1)?, queue: get(row, 4)?, body: get(row, 5)? };
            Ok((get(row, 0)?, task))
        };
        let mut claimed = rows.iter().map(claimed).collect::<Result<BTreeMap<i64, _>, StoreError>>()?;
        self.tasks.extend(taken.iter().filter_map(|task| claimed.remove(task)));
        Ok(fits)
    }
}

/// The run, the event and the number of claims in three columns.
fn task_claim(row: &SqliteRow, index: usize) -> Result<TaskClaim, StoreError> {
    let task = TaskId { run: get(row, index)?, seq: get::<EventSeq>(row, index + 1)? };
    Ok(TaskClaim { task, number: get(row, index + 2)? })
}

/// The tasks that an executor has by these claims, by the index of the claim.
async fn had(
    transaction: &mut Transaction,
    executor: ExecutorId,
    claims: impl Iterator<Item = TaskClaim>,
) -> Result<BTreeMap<usize, SqliteRow>, StoreError> {
    // A fenced executor has none, although its tasks may not all be taken from it yet.
    if transaction.fetch_first(sql(EXECUTOR).bind(executor)).await?.is_none() {
        return Ok(BTreeMap::new());
    }
    let claims: Vec<_> = claims.enumerate().collect();
    let add = |a: &mut Arguments, (index, claim): &(usize, TaskClaim)| {
        a.add(claim.task.run).add(claim.task.seq).add(claim.number).add(*index as i64);
    };
    let rows = transaction.fetch_all(&HAD, &claims, add, |a| _ = a.add(executor)).await?;
    rows.into_iter().map(|row| Ok((get::<u64>(&row, 0)? as usize, row))).collect()
}

/// Ends tasks, and tells their runs how.
pub(crate) async fn settle(
    transaction: &mut Transaction,
    settle: &SettleTasks,
) -> Result<Vec<Settled>, StoreError> {
    let claims = settle.outcomes.iter().map(|(claim, _)| *claim);
    let had = had(transaction, settle.executor, claims).await?;
    let (mut settled, mut gone, mut named) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (index, (_, body)) in settle.outcomes.iter().enumerate() {
        let Some(row) = had.get(&index) else {
            settled.push(Settled::Late);
            continue;
        };
        let task = get(row, 1)?;
        if !named.insert(task) {
            settled.push(Settled::Late);
            continue;
        }
        gone.push(Gone { task, run: get(row, 2)?, message: get(row, 3)?, body: Some(body.clone()) });
        settled.push(Settled::Told);
    }
    end_tasks(transaction, &gone).await?;
    Ok(settled)
}

/// Gives tasks back, and ends the executor if asked to.
pub(crate) async fn give_back(
    transaction: &mut Transaction,
    returned: &ReturnTasks,
) -> Result<(), StoreError> {
    let now = now();
    let had = had(transaction, returned.executor, returned.tasks.iter().map(|task| task.claim)).await?;
    let (mut over, mut free) = (Vec::new(), Vec::new());
    for (index, ReturnedTask { begun, pause, problem, .. }) in returned.tasks.iter().enumerate() {
        let Some(row) = had.get(&index) else { continue };
        let task: i64 = get(row, 1)?;
        if *begun && get::<u32>(row, 5)? == 0 {
            over.push(Gone { task, run: get(row, 2)?, message: get(row, 3)?, body: Some(get(row, 4)?) });
            continue;
        }
        let ready_at = (!pause.is_zero()).then(|| now.saturating_add(*pause));
        free.push((task, problem.as_deref(), ready_at));
        transaction.hint(Hint::Tasks(QueueHash::of(&get::<String>(row, 6)?)));
    }
    end_tasks(transaction, &over).await?;
    transaction
        .write_all(&GIVE_BACK, &free, |a, (task, problem, ready_at)| {
            a.add(*task).add(*problem).add(*ready_at);
        })
        .await?;
    if returned.ends && transaction.fetch_first(sql(EXECUTOR).bind(returned.executor)).await?.is_some() {
        end_executor(transaction, returned.executor).await?;
    }
    Ok(())
}

/// Deletes tasks whose outcome is not awaited any more, and tells their runs if asked to.
pub(crate) async fn withdraw(
    transaction: &mut Transaction,
    withdrawals: &[Withdrawal],
) -> Result<Vec<TaskId>, StoreError> {
    let tasks: Vec<_> = withdrawals.iter().enumerate().collect();
    let add = |a: &mut Arguments, (index, withdrawal): &(usize, &Withdrawal)| {
        a.add(withdrawal.task.run).add(withdrawal.task.seq).add(*index as i64);
    };
    let rows = transaction.fetch_all(&NAMED, &tasks, add, |_| {}).await?;
    let gone = |row| {
        let index = get::<u64>(row, 0)? as usize;
        let body = withdrawals.get(index).and_then(|withdrawal| withdrawal.tells.clone());
        Ok(Gone { task: get(row, 1)?, run: get(row, 2)?, message: get(row, 3)?, body })
    };
    let gone = rows.iter().map(gone).collect::<Result<Vec<_>, StoreError>>()?;
    end_tasks(transaction, &gone).await?;
    Ok(Vec::new())
}

/// The activity queues that have tasks.
pub(crate) async fn activity_queues(
    connection: &mut Connection,
) -> Result<Vec<ActivityQueueInfo>, StoreError> {
    let serving = connection.fetch(sql(SERVING).bind(now())).await?;
    let serving =
        serving.iter().map(|row| Ok((names(&get::<String>(row, 0)?), names(&get::<String>(row, 1)?))));
    let serving = serving.collect::<Result<Vec<_>, StoreError>>()?;
    let rows = connection.fetch(sql(ACTIVITY_QUEUES)).await?;
    let info = |row| {
        let (queue, activity): (String, String) = (get(row, 0)?, get(row, 1)?);
        let serves = |(queues, activities): &&(BTreeSet<Name>, BTreeSet<Name>)| {
            queues.contains(queue.as_str()) && activities.contains(activity.as_str())
        };
        let executors = serving.iter().filter(serves).count() as u32;
        let (waiting, claimed) = (get(row, 2)?, get(row, 3)?);
        let (waiting_since, problem) = (get(row, 4)?, get(row, 5)?);
        Ok(ActivityQueueInfo { queue, activity, waiting, claimed, waiting_since, executors, problem })
    };
    rows.iter().map(info).collect()
}
