//! Executors that end, and what becomes of their tasks. It must not know what a task does.

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{ExecutorId, MessageId, RunId};
use pgworkflows_core::store::{StoreError, queue_of};

use crate::connection::{Listed, sql};
use crate::deliver::{Delivery, tell};
use crate::transaction::Transaction;
use crate::values::get;

/// How many tasks of a lost executor are taken from it at a time. The others follow with the next heartbeat.
const LOST_AT_ONCE: i64 = 1000;

pub(crate) const EXECUTOR: &str = "select renewals from executors where executor = ? and not fenced";

pub(crate) const DELETE: Listed = Listed { text: "delete from tasks where task in (values {})", width: 1 };

/// As for leases: the clock was set back.
const SET_BACK: &str = "
    update executors set expires_at = expires_at - renewed_at + ?, renewed_at = ? where renewed_at > ? and not fenced";

const OVER: &str = "
    select executor from executors where (fenced or expires_at <= ?) and executor is not ?";

const FENCE: &str = "update executors set fenced = 1 where executor = ?";

/// The tasks of an executor that is lost, and those that nobody else may have.
const LOST: &str = "
    select task, run_id, message_id, lost, losses < losses_max and queue <> ?2 from tasks where executor = ?1
    union all
    select task, run_id, message_id, lost, 0 from tasks where queue = ?2 and executor is null
    limit ?3";

const FREE_LOST: Listed = Listed {
    text: "update tasks set executor = null, losses = losses + 1 where task in (values {})",
    width: 1,
};

const FORGET_EXECUTOR: &str = "delete from executors where executor = ?";

/// The tasks of the next hundred runs after the last one that was looked at, and whether those are open.
const NEXT_RUNS: &str = "
    select r.run_id, exists (select 1 from open_runs o where o.run_id = r.run_id)
    from (select distinct t.run_id from tasks t
          where t.run_id > (select e.swept from executors e where e.executor = ?) order by t.run_id limit 100) r";

const SWEPT: &str = "update executors set swept = ? where executor = ?";

const DELETE_OF_RUNS: Listed = Listed { text: "delete from tasks where run_id in (values {})", width: 1 };

pub(crate) fn delivery(message: MessageId, run: RunId, body: &Bytes) -> Delivery<'_> {
    Delivery { message, run, body, opens: None }
}

/// Ends the leases of executors that have expired, except the caller's own.
pub(crate) async fn fence_executors(
    transaction: &mut Transaction,
    now: Timestamp,
    own: Option<ExecutorId>,
) -> Result<(), StoreError> {
    transaction.write(sql(SET_BACK).bind(now).bind(now).bind(now)).await?;
    for row in transaction.fetch(sql(OVER).bind(now).bind(own)).await? {
        end_executor(transaction, get(&row, 0)?).await?;
    }
    Ok(())
}

/// An executor ends, and each task that it has is lost: it is free again, or its run is told.
pub(crate) async fn end_executor(transaction: &mut Transaction, id: ExecutorId) -> Result<(), StoreError> {
    transaction.execute(sql(FENCE).bind(id)).await?;
    let select = sql(LOST).bind(id).bind(queue_of(id).as_str()).bind(LOST_AT_ONCE);
    let lost = transaction.fetch(select).await?;
    let (mut freed, mut over): (Vec<i64>, Vec<Gone>) = (Vec::new(), Vec::new());
    for row in &lost {
        let task = get(row, 0)?;
        if get(row, 4)? {
            freed.push(task);
        } else {
            over.push(Gone { task, run: get(row, 1)?, message: get(row, 2)?, body: Some(get(row, 3)?) });
        }
    }
    transaction.write_all(&FREE_LOST, &freed, |a, task| _ = a.add(*task)).await?;
    end_tasks(transaction, &over).await?;
    if (lost.len() as i64) < LOST_AT_ONCE {
        transaction.execute(sql(FORGET_EXECUTOR).bind(id)).await?;
    }
    Ok(())
}

/// A task that is over.
pub(crate) struct Gone {
    pub(crate) task: i64,
    pub(crate) run: RunId,
    pub(crate) message: MessageId,
    /// The body of the message for its run, if that is to be told.
    pub(crate) body: Option<Bytes>,
}

/// Deletes tasks, and tells their runs in the given order.
pub(crate) async fn end_tasks(transaction: &mut Transaction, gone: &[Gone]) -> Result<(), StoreError> {
    transaction.write_all(&DELETE, gone, |a, gone| _ = a.add(gone.task)).await?;
    let told = gone.iter().filter_map(|gone| Some(delivery(gone.message, gone.run, gone.body.as_ref()?)));
    let told: Vec<_> = told.collect();
    tell(transaction, &told).await
}

/// Deletes tasks of runs that are over, of which nobody said so: those of a hundred runs at a time.
pub(crate) async fn sweep(transaction: &mut Transaction, executor: ExecutorId) -> Result<(), StoreError> {
    let (mut last, mut over) = (None, Vec::new());
    for row in transaction.fetch(sql(NEXT_RUNS).bind(executor)).await? {
        let run: RunId = get(&row, 0)?;
        if !get::<bool>(&row, 1)? {
            over.push(run);
        }
        last = Some(run);
    }
    transaction.write_all(&DELETE_OF_RUNS, &over, |a, run| _ = a.add(*run)).await?;
    // From the beginning, once there are no more.
    let swept = sql(SWEPT).bind(last.unwrap_or(RunId::from_u128(0)));
    transaction.execute(swept.bind(executor)).await?;
    Ok(())
}
