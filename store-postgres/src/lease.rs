//! Decides which session may write to which shard: queues, claims, the heartbeat, releases. Every time is the server's
//! `clock_timestamp()`. The SQL functions of the same names are in the migrations.

use std::time::Duration;

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{ClaimId, LeaseId, Name, Position, RunId, ShardId};
use pgworkflows_core::store::{
    Claim, Claimed, ClaimedShard, Heartbeat, HeartbeatAnswer, Hint, LeaseAnswer, LeaseHeartbeat, Queue,
    Release, Standing, StoreError, Suspect,
};
use sqlx::postgres::{PgBindIterExt, PgRow};

use crate::cursor::Cursor;
use crate::moved;
use crate::session::PostgresSession;
use crate::shared::Shared;
use crate::values::{Time, get, run_id, shard_id, suspect_stage, timestamp, uuid};

const OPEN_QUEUE: &str = "
    select first_shard, shard_count, pg_catalog.clock_timestamp() from @schema@.open_queue($1, $2, $3)";

/// With one time for all.
const QUEUES: &str = "
    select q.first_shard, q.shard_count, pg_catalog.statement_timestamp(), q.name
    from @schema@.queues q order by q.name collate pg_catalog.\"C\"";

const CLAIM: &str = "
    select lease, pg_catalog.clock_timestamp() from @schema@.claim($1, $2, $3, $4, $5, $6, $7, $8)";

/// Where the owner of shards continues. This statement begins after the claim was committed, when every append of an
/// earlier owner is either committed or fenced. A shard that was lost in between is left out.
const CLAIMED_SHARDS: &str = "
    select s.shard,
           greatest(s.position_floor,
                    (select pg_catalog.max(f.position) from @schema@.frames f where f.shard = s.shard)) + 1,
           s.deaths, s.former, s.claim,
           array(select n.workflow from @schema@.shard_needs n where n.shard = s.shard
                 order by n.workflow collate pg_catalog.\"C\")
    from @schema@.shards s
    where s.lease = $1
    order by s.shard";

/// Also a later statement: an append of the previous owner may have added suspects until it was fenced.
const CLAIMED_SUSPECTS: &str = "
    select * from @schema@.claimed_suspects($1, $2)";

const HEARTBEAT: &str = "
    select at, held, owned, mail, due, next_expiry, members, places, shared, claimable, outdated, misplaced
    from @schema@.heartbeat(
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

const RELEASE: &str = "
    select @schema@.release($1, $2, $3)";

/// Opens a queue.
pub(crate) async fn open_queue(shared: &Shared, name: &str, shards: u16) -> Result<Queue, StoreError> {
    if name.is_empty() || shards == 0 || shards > ShardId::COUNT {
        return Err(StoreError::misconfigured(format!(
            "queue `{name}` cannot have {shards} shards: give it a name that is not empty, and 1 to {} shards",
            ShardId::COUNT
        )));
    }
    let query = shared.statements.query(OPEN_QUEUE);
    let query = query.bind(name.to_owned()).bind(i32::from(shards)).bind(&shared.options.lock_timeout);
    queue(&shared.fetch_one(query).await?, name)
}

/// Reads all queues, by name.
pub(crate) async fn queues(shared: &Shared) -> Result<Vec<Queue>, StoreError> {
    let rows = shared.fetch(shared.statements.query(QUEUES)).await?;
    rows.iter().map(|row| queue(row, &get::<String>(row, 3)?)).collect()
}

/// A queue whose first columns are its first shard, how many it has, and the time.
fn queue(row: &PgRow, name: &str) -> Result<Queue, StoreError> {
    let out_of_range = |_| StoreError::corrupt(format!("the shards of queue `{name}` are out of range"));
    Ok(Queue {
        name: name.to_owned(),
        first_shard: u16::try_from(get::<i32>(row, 0)?)
            .map_err(out_of_range)
            .and_then(|first| ShardId::new(first).map_err(|error| StoreError::corrupt(error.to_string())))?,
        shard_count: u16::try_from(get::<i32>(row, 1)?).map_err(out_of_range)?,
        now: timestamp(row, 2)?,
    })
}

/// Claims free shards.
pub(crate) async fn claim(session: &mut PostgresSession, claim: &Claim) -> Result<Claimed, StoreError> {
    let ttl = micros(claim.ttl)?;
    let query = |session: &PostgresSession| {
        let query = session.query(CLAIM);
        query
            .bind(claim.queue.clone())
            .bind(claim.lease.map(|lease| lease.get().cast_signed()))
            .bind(claim.worker.clone())
            .bind(claim.build.workflows.iter().map(|workflow| workflow.as_str()).bind_iter())
            .bind(i64::try_from(claim.build.generation).unwrap_or(i64::MAX))
            .bind(ttl)
            .bind(i32::from(claim.limit))
            .bind(&session.shared.options.lock_timeout)
    };
    let row = &moved::fetch_or_rewrite(session, query).await?;
    let lease: i64 = get(row, 0)?;
    // Slightly old when this returns, which is safe: it is never ahead of the store's clock.
    let now = timestamp(row, 1)?;

    let query = session.query(CLAIMED_SHARDS).bind(lease);
    let shards = session.fetch(query).await?;
    let query = session.query(CLAIMED_SUSPECTS);
    let query = query.bind(lease).bind(&session.shared.options.lock_timeout);
    let suspects = session.fetch(query).await?;
    Ok(Claimed {
        lease: LeaseId::new(lease.cast_unsigned()),
        shards: shards.iter().map(claimed_shard).collect::<Result<_, _>>()?,
        suspects: suspects.iter().map(suspect).collect::<Result<_, _>>()?,
        now,
    })
}

fn claimed_shard(row: &PgRow) -> Result<ClaimedShard, StoreError> {
    Ok(ClaimedShard {
        shard: shard_id(get(row, 0)?)?,
        next_position: Position::new(get::<i64>(row, 1)?.cast_unsigned()),
        deaths: get::<i32>(row, 2)?.cast_unsigned(),
        former: get(row, 3)?,
        claim: ClaimId::new(get::<i64>(row, 4)?.cast_unsigned()),
        needs: get::<Vec<String>>(row, 5)?.into_iter().map(Name::from).collect(),
    })
}

fn suspect(row: &PgRow) -> Result<Suspect, StoreError> {
    Ok(Suspect {
        run: run_id(row, 0)?,
        stage: suspect_stage(get(row, 1)?),
        strikes: get::<i32>(row, 2)?.cast_unsigned(),
    })
}

/// Sends the heartbeat: renews leases and looks for work.
pub(crate) async fn heartbeat(
    session: &mut PostgresSession,
    heartbeat: &Heartbeat,
) -> Result<HeartbeatAnswer, StoreError> {
    let leases = &heartbeat.leases;
    let cursors = leases.iter().map(|lease| Cursor::decode(&lease.cursor)).collect::<Result<Vec<_>, _>>()?;
    let ttls = leases
        .iter()
        .map(|lease| lease.renew.map(micros).transpose())
        .collect::<Result<Vec<Option<i64>>, _>>()?;
    let query = |session: &PostgresSession| {
        let query = session.query(HEARTBEAT);
        query
            .bind(heartbeat.queue.clone())
            .bind(leases.iter().map(|lease| lease.lease.get().cast_signed()).bind_iter())
            .bind(ttls.clone())
            .bind(leases.iter().map(|lease| lease.committed.get().cast_signed()).bind_iter())
            .bind(leases.iter().map(|lease| i32::try_from(lease.deaths_max).unwrap_or(i32::MAX)).bind_iter())
            .bind(cursors.iter().map(|cursor| cursor.server).bind_iter())
            .bind(cursors.iter().map(|cursor| cursor.seen.as_deref()).bind_iter())
            .bind(cursors.iter().map(|cursor| cursor.greatest).bind_iter())
            .bind(leases.iter().map(|lease| Time(due_after(lease).0)).bind_iter())
            .bind(leases.iter().map(|lease| uuid(due_after(lease).1)).bind_iter())
            .bind(leases.iter().map(|lease| Time(lease.due_until)).bind_iter())
            .bind(leases.iter().map(|lease| i32::try_from(lease.live_runs).unwrap_or(i32::MAX)).bind_iter())
            .bind(&session.shared.options.lock_timeout)
    };
    let row = &moved::fetch_or_rewrite(session, query).await?;
    let flags = |column: &str| get::<Option<Vec<bool>>>(row, column).map(Option::unwrap_or_default);
    let (held, mail, due, outdated) = (flags("held")?, flags("mail")?, flags("due")?, flags("outdated")?);
    let counts = |column: &str| get::<Option<Vec<i64>>>(row, column).map(Option::unwrap_or_default);
    let (owned, members, places) = (counts("owned")?, counts("members")?, counts("places")?);
    let (shared, claimable) = (counts("shared")?, counts("claimable")?);
    let flags = [&held, &mail, &due, &outdated].map(Vec::len);
    let counts = [&owned, &members, &places, &shared, &claimable].map(Vec::len);
    if flags.into_iter().chain(counts).any(|count| count != leases.len()) {
        return Err(StoreError::corrupt("the heartbeat's answer is for other leases than were asked about"));
    }
    let misplaced = get::<Option<Vec<i16>>>(row, "misplaced")?.unwrap_or_default();
    let answer = |(index, lease): (usize, &LeaseHeartbeat)| LeaseAnswer {
        lease: lease.lease,
        held: held[index],
        shards: u16::try_from(owned[index]).unwrap_or(u16::MAX),
        standing: Standing {
            members: u32::try_from(members[index]).unwrap_or(u32::MAX),
            place: u32::try_from(places[index]).unwrap_or(u32::MAX),
            shared: u16::try_from(shared[index]).unwrap_or(u16::MAX),
            claimable: u16::try_from(claimable[index]).unwrap_or(u16::MAX),
            outdated: outdated[index],
        },
        // A read with further pages has mail, even if nothing new has arrived.
        mail: mail[index] || cursors[index].paging.is_some(),
        due: due[index],
    };
    Ok(HeartbeatAnswer {
        now: timestamp(row, "at")?,
        leases: leases.iter().enumerate().map(answer).collect(),
        misplaced: misplaced.into_iter().map(shard_id).collect::<Result<_, _>>()?,
        next_expiry: get::<Option<i64>>(row, "next_expiry")?
            .map(|left| Duration::from_micros(u64::try_from(left).unwrap_or(0))),
    })
}

/// Releases a lease and notifies other processes.
pub(crate) async fn release(session: &mut PostgresSession, release: &Release) -> Result<(), StoreError> {
    let Release { lease, at_fault } = release;
    let query = session.query(RELEASE);
    let query = query
        .bind(lease.get().cast_signed())
        .bind(at_fault.map(uuid))
        .bind(&session.shared.options.lock_timeout);
    if get::<bool>(&session.fetch_one(query).await?, 0)? {
        session.shared.notifier.notify([Hint::Released], false);
    }
    Ok(())
}

pub(crate) fn micros(duration: Duration) -> Result<i64, StoreError> {
    // A lease longer than a century is a wrong unit.
    const MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    if duration.is_zero() || duration > MAX {
        return Err(StoreError::misconfigured(format!(
            "a lease cannot live for {duration:?}: choose more than 0 s and at most {MAX:?}"
        )));
    }
    i64::try_from(duration.as_micros())
        .map_err(|_| StoreError::misconfigured("a lease's time to live is too long"))
}

fn due_after(lease: &LeaseHeartbeat) -> (Timestamp, RunId) {
    lease.due_after.map_or((Timestamp::MIN, RunId::from_u128(0)), |mark| (mark.wake_at, mark.run))
}
