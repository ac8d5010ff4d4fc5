//! Decides which lease may write to which shard: queues, claims, heartbeats, takeovers, releases. It must not know what is
//! written. Every time is that of the machine's clock in the transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{AppendNo, ClaimId, LeaseId, Name, RunId, ShardId};
use pgworkflows_core::store::{
    Build, Claim, Claimed, ClaimedShard, Heartbeat, HeartbeatAnswer, Hint, LeaseAnswer, LeaseHeartbeat,
    Queue, Release, Standing, StoreError, Suspect, SuspectStage,
};

use crate::chain::{Known, known};
use crate::connection::{Listed, sql};
use crate::fleet::{Fleet, Shard, join};
use crate::transaction::{Transaction, now};
use crate::values::{Arguments, get};
use crate::{executors, inbox};

/// Fenced leases are kept for a day, so that a run can be blamed for their end.
const FENCED_KEPT: Duration = Duration::from_secs(24 * 3600);

const QUEUE: &str = "select first_shard, shard_count from queues where name = ?";

const QUEUES_END: &str = "select coalesce(max(first_shard + shard_count), 0) from queues";

const MAKE_QUEUE: &str = "insert into queues (name, first_shard, shard_count) values (?, ?, ?)";

const MAKE_SHARDS: Listed = Listed { text: "insert into shards (shard, queue) values {}", width: 2 };

/// An id is random: a file that was restored gives none a second time. 60 bits are enough, and positive.
const RANDOM_ID: &str = "select random() & 0xfffffffffffffff";

const MAKE_LEASE: &str = "
    insert into leases (lease, queue, worker, generation, workflows, claimed_at, renewed_at, expires_at)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)";

const KNOW: Listed = Listed {
    text: "insert into known_workflows (workflow, queue, claimed_at) values {}
           on conflict (workflow, queue) do update set claimed_at = excluded.claimed_at",
    width: 3,
};

const RENEW: &str = "update leases set renewed_at = ?, expires_at = ? where lease = ? and not fenced";

/// A lease whose renewal is still to come was renewed before the clock was set back: it lasts no longer for that.
const SET_BACK: &str = "
    update leases set expires_at = expires_at - renewed_at + ?, renewed_at = ? where renewed_at > ? and not fenced";

const EXPIRED: &str = "select lease, worker from leases where not fenced and expires_at <= ?";

const FENCE: &str = "update leases set fenced = 1 where lease = ? and not fenced";

const LOSE_SHARDS: &str = "update shards set lease = null, deaths = deaths + 1, former = ? where lease = ?";

const FREE_SHARDS: &str = "update shards set lease = null, former = null where lease = ?";

const FORGET_LEASES: &str = "delete from leases where fenced and expires_at < ?";

const TAKE: Listed = Listed {
    text: "update shards set lease = t.column2, claim = t.column3, released_by = null
           from (values {}) as t where shard = t.column1",
    width: 3,
};

const OPEN_NEEDS: Listed = Listed {
    text: "select distinct o.shard, o.workflow from open_runs o where o.workflow in (values {})",
    width: 1,
};

const FORGET_NEED: Listed =
    Listed { text: "delete from shard_needs where (shard, workflow) in (values {})", width: 2 };

const SUSPECTS: &str = "
    select u.run_id, u.stage, u.strikes from suspects u
    where u.shard in (select s.shard from shards s where s.lease = ?) order by u.run_id";

const HELD: &str = "select last_append from leases where lease = ? and not fenced";

const RENEW_ALIVE: &str = "update leases set renewed_at = ?, expires_at = ?, live_runs = ? where lease = ?";

const PAY_OFF: &str = "update shards set deaths = ?1 where lease = ?2 and deaths > ?1";

/// Whether the lease's shards have messages after a number, and parked runs with a deadline in a window. Each is a few probes. A
/// number that was never given was read before commits were lost: the read itself reports that.
const WORK: &str = "
    select exists (select 1 from shards s join inbox i indexed by inbox_by_shard on i.shard = s.shard and i.number > ?2
                   where s.lease = ?1)
           or ?2 > coalesce((select max(q.seq) from sqlite_sequence q where q.name = 'inbox'), 0),
           exists (select 1 from open_runs o indexed by open_runs_by_deadline
                   where o.wake_at is not null and (o.wake_at, o.run_id) > (?3, ?4) and o.wake_at <= ?5
                     and o.shard in (select s.shard from shards s where s.lease = ?1))";

const BLAME: &str = "update leases set blamed = 1 where lease = ? and fenced and not blamed";

const STRIKE: &str = "
    insert into suspects (run_id, shard, stage, strikes) values (?, ?, ?, 1)
    on conflict (run_id) do update set strikes = strikes + 1";

const HOLD_TRIED: &str = "
    update suspects set stage = ?1, strikes = iif(run_id is ?2, strikes, 0)
    where stage = ?3 and shard in (select s.shard from shards s where s.lease = ?4)";

/// Opens a queue.
pub(crate) async fn open_queue(
    transaction: &mut Transaction,
    name: &str,
    shards: u16,
) -> Result<Queue, StoreError> {
    if let Some(queue) = find_queue(transaction, name).await? {
        return Ok(queue);
    }
    let first = transaction.fetch_value::<u16>(sql(QUEUES_END)).await?.unwrap_or(0);
    if name.is_empty() || shards == 0 || shards > ShardId::COUNT - first {
        return Err(StoreError::misconfigured(format!(
            "queue `{name}` cannot have {shards} shards: it needs a name and at least 1, and all queues together have {} at \
             most, of which {first} are taken",
            ShardId::COUNT
        )));
    }
    transaction.execute(sql(MAKE_QUEUE).bind(name).bind(first).bind(shards)).await?;
    let numbers: Vec<u16> = (first..first + shards).collect();
    transaction.write_all(&MAKE_SHARDS, &numbers, |a, shard| _ = a.add(*shard).add(name)).await?;
    find_queue(transaction, name).await?.ok_or_else(|| unknown_queue(name))
}

async fn find_queue(transaction: &mut Transaction, name: &str) -> Result<Option<Queue>, StoreError> {
    let Some(row) = transaction.fetch_first(sql(QUEUE).bind(name)).await? else { return Ok(None) };
    let (first_shard, shard_count) = (get(&row, 0)?, get(&row, 1)?);
    Ok(Some(Queue { name: name.to_owned(), first_shard, shard_count, now: now() }))
}

fn unknown_queue(name: &str) -> StoreError {
    StoreError::misconfigured(format!("there is no queue `{name}`: ask the store for it first"))
}

/// Claims free shards, including those of expired leases.
pub(crate) async fn claim(transaction: &mut Transaction, claim: &Claim) -> Result<Claimed, StoreError> {
    let now = now();
    let queue = find_queue(transaction, &claim.queue).await?.ok_or_else(|| unknown_queue(&claim.queue))?;
    // Its own lease first, so that a claim which comes late finds it as valid as a heartbeat would.
    let id = match claim.lease {
        Some(id) => renew(transaction, now, id, claim.ttl).await?,
        None => make_lease(transaction, now, claim).await?,
    };
    fence_expired(transaction, now, &[id]).await?;
    transaction.execute(sql(FORGET_LEASES).bind(earlier(now, FENCED_KEPT))).await?;

    let fleet = Fleet::load(transaction, now, &claim.queue).await?;
    let mean = usize::from(queue.shard_count).div_ceil(fleet.live.len().max(1));
    let limit = usize::from(claim.limit).min(if claim.lease.is_some() { usize::MAX } else { mean });
    let room = limit.saturating_sub(fleet.owned(id));
    let taken: Vec<ShardId> = fleet.claimable(id).take(room).map(|shard| shard.id).collect();
    let claim_id = ClaimId::new(random_id(transaction).await?);
    let add = |a: &mut Arguments, shard: &ShardId| _ = a.add(*shard).add(id).add(claim_id);
    transaction.write_all(&TAKE, &taken, add).await?;

    let fleet = Fleet::load(transaction, now, &claim.queue).await?;
    let mut owned: Vec<Shard> = fleet.shards.into_iter().filter(|shard| shard.owner == Some(id)).collect();
    forget_needs(transaction, &mut owned, &claim.build).await?;
    let shards = owned.into_iter().map(|shard| ClaimedShard {
        shard: shard.id,
        claim: shard.claim,
        next_position: shard.next_position,
        deaths: shard.deaths,
        former: shard.former,
        needs: shard.needs.into_iter().collect(),
    });
    let rows = transaction.fetch(sql(SUSPECTS).bind(id)).await?;
    let suspect = |row| Ok(Suspect { run: get(row, 0)?, stage: get(row, 1)?, strikes: get(row, 2)? });
    let suspects = rows.iter().map(suspect).collect::<Result<_, StoreError>>()?;
    Ok(Claimed { lease: id, shards: shards.collect(), suspects, now })
}

async fn renew(
    transaction: &mut Transaction,
    now: Timestamp,
    id: LeaseId,
    ttl: Duration,
) -> Result<LeaseId, StoreError> {
    match transaction.execute(sql(RENEW).bind(now).bind(now.saturating_add(ttl)).bind(id)).await? {
        0 => Err(fenced(id)),
        _ => Ok(id),
    }
}

async fn make_lease(
    transaction: &mut Transaction,
    now: Timestamp,
    claim: &Claim,
) -> Result<LeaseId, StoreError> {
    let id = LeaseId::new(random_id(transaction).await?);
    let workflows: Vec<&Name> = claim.build.workflows.iter().collect();
    let add = |a: &mut Arguments, workflow: &&Name| {
        a.add(workflow.as_str()).add(claim.queue.as_str()).add(now);
    };
    transaction.write_all(&KNOW, &workflows, add).await?;
    let insert = sql(MAKE_LEASE).bind(id).bind(claim.queue.as_str()).bind(claim.worker.as_str());
    let insert = insert.bind(claim.build.generation).bind(join(&claim.build.workflows).as_str());
    transaction.execute(insert.bind(now).bind(now.saturating_add(claim.ttl))).await?;
    Ok(id)
}

/// An id that was never given.
pub(crate) async fn random_id(transaction: &mut Transaction) -> Result<u64, StoreError> {
    Ok(transaction.fetch_value(sql(RANDOM_ID)).await?.unwrap_or(0))
}

/// The owner of shards does not know these workflows, so nobody begins runs of them while it lives: those without an open run are
/// needed no longer. This reads all open runs, but only for workflows that no worker knows any more.
async fn forget_needs(
    transaction: &mut Transaction,
    owned: &mut [Shard],
    build: &Build,
) -> Result<(), StoreError> {
    let needed: BTreeSet<&Name> = owned.iter().flat_map(|shard| &shard.needs).collect();
    let unknown: Vec<&Name> = needed.into_iter().filter(|need| !build.workflows.contains(*need)).collect();
    let rows =
        transaction.fetch_all(&OPEN_NEEDS, &unknown, |a, name| _ = a.add(name.as_str()), |_| {}).await?;
    let open = rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?)));
    let open: BTreeSet<(ShardId, Name)> = open.collect::<Result<_, StoreError>>()?;
    let mut over = Vec::new();
    for Shard { id, needs, .. } in owned {
        let is_over = |need: &Name| !build.workflows.contains(need) && !open.contains(&(*id, need.clone()));
        over.extend(needs.extract_if(.., is_over).map(|need| (*id, need)));
    }
    transaction
        .write_all(&FORGET_NEED, &over, |a, (shard, need)| _ = a.add(*shard).add(need.as_str()))
        .await
        .map(drop)
}

/// Fences the expired leases of others.
async fn fence_expired(
    transaction: &mut Transaction,
    now: Timestamp,
    own: &[LeaseId],
) -> Result<(), StoreError> {
    transaction.write(sql(SET_BACK).bind(now).bind(now).bind(now)).await?;
    for row in transaction.fetch(sql(EXPIRED).bind(now)).await? {
        let (lease, worker): (LeaseId, String) = (get(&row, 0)?, get(&row, 1)?);
        if own.contains(&lease) {
            continue;
        }
        transaction.execute(sql(FENCE).bind(lease)).await?;
        let lost = transaction.execute(sql(LOSE_SHARDS).bind(worker.as_str()).bind(lease)).await?;
        transaction.hint_all((lost > 0).then_some(Hint::Released));
    }
    Ok(())
}

/// Renews leases and looks for work.
pub(crate) async fn heartbeat(
    transaction: &mut Transaction,
    heartbeat: &Heartbeat,
) -> Result<HeartbeatAnswer, StoreError> {
    let now = now();
    find_queue(transaction, &heartbeat.queue).await?.ok_or_else(|| unknown_queue(&heartbeat.queue))?;
    // First, because what runs are told of their tasks is mail.
    executors::fence_executors(transaction, now, None).await?;
    let mut leases = Vec::with_capacity(heartbeat.leases.len());
    for lease in &heartbeat.leases {
        leases.push(heartbeat_of_lease(transaction, now, lease).await?);
    }
    // Also leases without shards: no claim would ever take over from a standby process that was killed.
    let own: Vec<LeaseId> = heartbeat.leases.iter().map(|lease| lease.lease).collect();
    fence_expired(transaction, now, &own).await?;
    let fleet = Fleet::load(transaction, now, &heartbeat.queue).await?;
    for answer in &mut leases {
        answer.standing = fleet.standing(answer.lease);
        answer.shards = if answer.held { fleet.owned(answer.lease) as u16 } else { 0 };
    }
    let others = fleet.live.iter().filter(|lease| !own.contains(&lease.id));
    let next_expiry = others.map(|lease| lease.expires_at.saturating_since(now)).min();
    Ok(HeartbeatAnswer { now, leases, misplaced: fleet.misplaced(&own), next_expiry })
}

async fn heartbeat_of_lease(
    transaction: &mut Transaction,
    now: Timestamp,
    heartbeat: &LeaseHeartbeat,
) -> Result<LeaseAnswer, StoreError> {
    let LeaseHeartbeat { lease, renew, committed, deaths_max, cursor, due_after, due_until, live_runs } =
        heartbeat;
    let standing = Standing::default();
    let lost = LeaseAnswer { lease: *lease, held: false, shards: 0, standing, mail: false, due: false };
    let last: Option<AppendNo> = transaction.fetch_value(sql(HELD).bind(*lease)).await?;
    // None: it was fenced. An older one: commits were lost.
    if last.is_none_or(|last| last < *committed) {
        return Ok(lost);
    }
    // An expired lease is valid until it is fenced.
    if let Some(ttl) = renew {
        let renew = sql(RENEW_ALIVE).bind(now).bind(now.saturating_add(*ttl)).bind(*live_runs).bind(*lease);
        transaction.execute(renew).await?;
    }
    transaction.execute(sql(PAY_OFF).bind(*deaths_max).bind(*lease)).await?;
    let (after, after_run) =
        due_after.map_or((Timestamp::MIN, RunId::from_u128(0)), |mark| (mark.wake_at, mark.run));
    let work =
        sql(WORK).bind(*lease).bind(inbox::number(cursor)?).bind(after).bind(after_run).bind(*due_until);
    let row = transaction.fetch_first(work).await?;
    let (mail, due) = row.map_or(Ok((false, false)), |row| Ok((get(&row, 0)?, get(&row, 1)?)))?;
    Ok(LeaseAnswer { held: true, mail, due, ..lost })
}

/// Ends a lease in an orderly way, which counts as no death.
pub(crate) async fn release(transaction: &mut Transaction, release: &Release) -> Result<(), StoreError> {
    let Release { lease, at_fault } = *release;
    let was_valid = transaction.execute(sql(FENCE).bind(lease)).await? > 0;
    // A run is blamed once per lease, even if the lease was fenced in between.
    if let Some(run) = at_fault
        && transaction.execute(sql(BLAME).bind(lease)).await? > 0
        && known(transaction, vec![run]).await?.get(&run) != Some(&Known::Over)
    {
        let strike = sql(STRIKE).bind(run).bind(run.shard()).bind(SuspectStage::Held);
        transaction.execute(strike).await?;
    }
    if was_valid {
        // An owner that released its lease was not killed by a suspect.
        let hold = sql(HOLD_TRIED).bind(SuspectStage::Held).bind(at_fault).bind(SuspectStage::Tried);
        transaction.execute(hold.bind(lease)).await?;
        let freed = transaction.execute(sql(FREE_SHARDS).bind(lease)).await?;
        transaction.hint_all((freed > 0).then_some(Hint::Released));
    }
    Ok(())
}

pub(crate) fn fenced(lease: LeaseId) -> StoreError {
    StoreError::fenced(format!("lease {lease} was fenced, or is not known here"))
}

/// A time so long ago.
fn earlier(now: Timestamp, ago: Duration) -> Timestamp {
    let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(micros))
}
