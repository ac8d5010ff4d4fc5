//! Tasks: their executors claim, settle, return and withdraw them, each by one SQL function of `0005_tasks.sql`. It must not
//! know what a task does.

use std::collections::BTreeSet;

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::id::{EventSeq, ExecutorId};
use pgworkflows_core::store::{
    ActivityQueueInfo, ClaimTasks, ClaimedTask, ClaimedTasks, Hint, QueueHash, ReturnTasks, SettleTasks,
    Settled, StoreError, TaskClaim, TaskId, Withdrawal,
};
use sqlx::postgres::{PgBindIterExt, PgRow};
use sqlx::types::Uuid;

use crate::error::{is_notification_queue_full, store_error};
use crate::lease::micros;
use crate::notify::Notification;
use crate::session::PostgresSession;
use crate::shared::{Shared, only};
use crate::sql::PgQuery;
use crate::values::{Time, byte_count, get, timestamp, uuid};

const CLAIM: &str = "
    select executor, at, more, held_runs, held_seqs, held_claims, runs, seqs, claims, queues, bodies
    from @schema@.claim_tasks($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const SETTLE: &str = "
    select held, notified from @schema@.settle_tasks($1, $2, $3, $4, $5, $6, $7, $8)";

const RETURN: &str = "
    select @schema@.return_tasks($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const WITHDRAW: &str = "
    select locked, notified from @schema@.withdraw_tasks($1, $2, $3, $4, $5, $6)";

const ACTIVITY_QUEUES: &str = "
    select q.queue, q.activity, q.waiting, q.claimed, q.waiting_since, q.executors, q.problem
    from @schema@.activity_queues q order by q.queue collate \"C\", q.activity collate \"C\"";

/// Renews an executor's lease, and claims tasks.
pub(crate) async fn claim(
    session: &mut PostgresSession,
    claim: &ClaimTasks,
) -> Result<ClaimedTasks, StoreError> {
    let ttl = claim.renew.map(micros).transpose()?;
    let limit = |count: &u32| i32::try_from(*count).unwrap_or(i32::MAX);
    let query = session
        .query(CLAIM)
        .bind(claim.executor.map(executor_number))
        .bind(claim.renewals.cast_signed())
        .bind(claim.worker.clone())
        .bind(ttl)
        .bind(claim.queues.iter().map(|(queue, _)| queue.to_string()).bind_iter())
        .bind(claim.queues.iter().map(|(_, count)| limit(count)).bind_iter())
        .bind(claim.activities.iter().map(|activity| activity.to_string()).bind_iter())
        .bind(byte_count(claim.bytes))
        .bind(&session.shared.options.lock_timeout);
    let row = &session.fetch_one(query).await?;
    let mut held = claims(row, ["held_runs", "held_seqs", "held_claims"])?;
    held.iter_mut().for_each(|held| held.sort_unstable());
    let claims = claims(row, ["runs", "seqs", "claims"])?.unwrap_or_default();
    let (queues, bodies) = (get::<Vec<String>>(row, "queues")?, get::<Vec<Vec<u8>>>(row, "bodies")?);
    if [queues.len(), bodies.len()] != [claims.len(); 2] {
        return Err(StoreError::corrupt("the columns of the claimed tasks have different lengths"));
    }
    let task = |((claim, queue), body): ((TaskClaim, String), Vec<u8>)| ClaimedTask {
        claim,
        queue: queue.into(),
        body: Bytes::from(body),
    };
    Ok(ClaimedTasks {
        executor: ExecutorId::new(get::<i64>(row, "executor")?.cast_unsigned()),
        tasks: claims.into_iter().zip(queues).zip(bodies).map(task).collect(),
        held,
        more: get(row, "more")?,
        now: timestamp(row, "at")?,
    })
}

/// The claims in three columns; `None` if they are null.
fn claims(row: &PgRow, [runs, seqs, numbers]: [&str; 3]) -> Result<Option<Vec<TaskClaim>>, StoreError> {
    let Some(runs) = get::<Option<Vec<Uuid>>>(row, runs)? else { return Ok(None) };
    let (seqs, numbers) = (get::<Vec<i32>>(row, seqs)?, get::<Vec<i32>>(row, numbers)?);
    let claim = |((run, seq), number): ((Uuid, i32), i32)| TaskClaim {
        task: TaskId { run: RunId::from_u128(run.as_u128()), seq: EventSeq::new(seq.cast_unsigned()) },
        number: number.cast_unsigned(),
    };
    Ok(Some(runs.into_iter().zip(seqs).zip(numbers).map(claim).collect()))
}

/// Ends tasks, and notifies the owners of their runs.
pub(crate) async fn settle(
    session: &mut PostgresSession,
    settle: &SettleTasks,
) -> Result<Vec<Settled>, StoreError> {
    let outcomes = &settle.outcomes;
    let row =
        notifying(session, outcomes.iter().map(|(claim, _)| claim.task.run), |session, notification| {
            session
                .query(SETTLE)
                .bind(executor_number(settle.executor))
                .bind(outcomes.iter().map(|(claim, _)| uuid(claim.task.run)).bind_iter())
                .bind(outcomes.iter().map(|(claim, _)| claim.task.seq.get().cast_signed()).bind_iter())
                .bind(outcomes.iter().map(|(claim, _)| claim.number.cast_signed()).bind_iter())
                .bind(outcomes.iter().map(|(_, body)| &body[..]).bind_iter())
                .bind(notification.map(|notification| notification.channel.clone()))
                .bind(notification.and_then(|notification| notification.hints.clone()))
                .bind(&session.shared.options.lock_timeout)
        });
    let held: Vec<Option<bool>> = get(&row.await?, 0)?;
    if held.len() != outcomes.len() {
        return Err(StoreError::corrupt("the answer is for other tasks than were settled"));
    }
    let answer = |held| match held {
        Some(true) => Settled::Told,
        Some(false) => Settled::Late,
        None => Settled::Locked,
    };
    Ok(held.into_iter().map(answer).collect())
}

/// Runs a statement that may tell runs how tasks ended, and that returns in its second column whether it notified.
async fn notifying(
    session: &mut PostgresSession,
    runs: impl Iterator<Item = RunId>,
    query: impl Fn(&PostgresSession, Option<&Notification>) -> PgQuery,
) -> Result<PgRow, StoreError> {
    let shards: BTreeSet<_> = runs.map(RunId::shard).collect();
    let hints: Vec<Hint> = shards.into_iter().map(Hint::Mail).collect();
    let mut notification = session.shared.notifier.within_call(&hints);
    loop {
        let query = query(session, notification.as_ref());
        match session.fetch_raw(query).await? {
            Ok(rows) => {
                let row = only(rows)?;
                session.shared.notifier.notify(hints, get(&row, 1)?);
                return Ok(row);
            }
            Err(error) if notification.is_some() && is_notification_queue_full(&error) => notification = None,
            Err(error) => return Err(store_error(error)),
        }
    }
}

/// Gives tasks back, and ends the executor if asked to.
pub(crate) async fn give_back(
    session: &mut PostgresSession,
    returned: &ReturnTasks,
) -> Result<(), StoreError> {
    let tasks = &returned.tasks;
    let pause = |pause: std::time::Duration| i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
    let query = session
        .query(RETURN)
        .bind(executor_number(returned.executor))
        .bind(tasks.iter().map(|task| uuid(task.claim.task.run)).bind_iter())
        .bind(tasks.iter().map(|task| task.claim.task.seq.get().cast_signed()).bind_iter())
        .bind(tasks.iter().map(|task| task.claim.number.cast_signed()).bind_iter())
        .bind(tasks.iter().map(|task| task.begun).bind_iter())
        .bind(tasks.iter().map(|task| pause(task.pause)).bind_iter())
        .bind(tasks.iter().map(|task| task.problem.as_deref()).bind_iter())
        .bind(returned.ends)
        .bind(&session.shared.options.lock_timeout);
    let queues: Vec<String> = get(&session.fetch_one(query).await?, 0)?;
    let hints = queues.iter().map(|queue| Hint::Tasks(QueueHash::of(queue)));
    session.shared.notifier.notify(hints, false);
    Ok(())
}

/// Deletes tasks whose outcome is not awaited any more, and notifies the owners of the runs that are told.
pub(crate) async fn withdraw(
    session: &mut PostgresSession,
    withdrawals: &[Withdrawal],
) -> Result<Vec<TaskId>, StoreError> {
    let told = withdrawals.iter().filter(|withdrawal| withdrawal.tells.is_some());
    let row = notifying(session, told.map(|withdrawal| withdrawal.task.run), |session, notification| {
        session
            .query(WITHDRAW)
            .bind(withdrawals.iter().map(|withdrawal| uuid(withdrawal.task.run)).bind_iter())
            .bind(withdrawals.iter().map(|withdrawal| withdrawal.task.seq.get().cast_signed()).bind_iter())
            .bind(withdrawals.iter().map(|withdrawal| withdrawal.tells.as_deref()).bind_iter())
            .bind(notification.map(|notification| notification.channel.clone()))
            .bind(notification.and_then(|notification| notification.hints.clone()))
            .bind(&session.shared.options.lock_timeout)
    });
    let locked: Vec<bool> = get::<Option<_>>(&row.await?, 0)?.unwrap_or_default();
    let locked = withdrawals.iter().zip(locked).filter(|(_, locked)| *locked);
    Ok(locked.map(|(withdrawal, _)| withdrawal.task).collect())
}

/// The activity queues that have tasks.
pub(crate) async fn activity_queues(shared: &Shared) -> Result<Vec<ActivityQueueInfo>, StoreError> {
    let rows = shared.fetch(shared.statements.query(ACTIVITY_QUEUES)).await?;
    rows.iter().map(activity_queue).collect()
}

fn activity_queue(row: &PgRow) -> Result<ActivityQueueInfo, StoreError> {
    Ok(ActivityQueueInfo {
        queue: get(row, 0)?,
        activity: get(row, 1)?,
        waiting: get::<i64>(row, 2)?.cast_unsigned(),
        claimed: get::<i64>(row, 3)?.cast_unsigned(),
        waiting_since: get::<Option<Time>>(row, 4)?.map(|Time(at)| at),
        executors: u32::try_from(get::<i64>(row, 5)?).unwrap_or(u32::MAX),
        problem: get(row, 6)?,
    })
}

pub(crate) fn executor_number(executor: ExecutorId) -> i64 {
    executor.get().cast_signed()
}
