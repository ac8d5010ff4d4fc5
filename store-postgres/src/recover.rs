//! Reads what a processor needs to recover and wake runs: unparked runs, histories, and parked runs by their deadlines.
//! It must not know what an event says.

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{EventSeq, Position, RunId};
use pgworkflows_core::store::{
    Bodies, Due, DueMark, DueRuns, Frame, Load, Loaded, RunHistory, StoreError, Unparked, UnparkedRuns,
};
use sqlx::postgres::{PgBindIterExt, PgRow};

use crate::session::PostgresSession;
use crate::sql::{PgQuery, Statements};
use crate::values::{Time, byte_count, get, run_id, shard_number, timestamp, uuid};

const UNPARKED: &str = "select * from @schema@.unparked($1, $2, $3, $4)";

const LOAD_RUNS: &str = "select * from @schema@.load_runs($1, $2, $3, $4)";

/// Returns the server's time even if no run is due.
const DUE_RUNS: &str = "
    select now.at, d.wake_at, d.run_id
    from (select pg_catalog.clock_timestamp() as at) now
    left join @schema@.due_runs($1, $2, $3, $4, $5) d on true
    order by d.wake_at, d.run_id";

/// Reads the busy and stalled runs of some shards.
pub(crate) async fn unparked(
    session: &mut PostgresSession,
    unparked: &Unparked,
) -> Result<UnparkedRuns, StoreError> {
    let Unparked { shards, after, limit } = unparked;
    let mut shards: Vec<i16> = shards.iter().copied().map(shard_number).collect();
    shards.sort_unstable();
    let query = session.query(UNPARKED);
    let query = query
        .bind(shards)
        .bind(after.map_or(0, |run| shard_number(run.shard())))
        .bind(uuid(after.unwrap_or(RunId::from_u128(0))))
        .bind(i64::from((*limit).max(1)));
    let rows = session.fetch(query).await?;
    let mut found = UnparkedRuns { runs: Vec::with_capacity(rows.len()), cut: None };
    for row in &rows {
        let run = run_id(row, 0)?;
        if get(row, 1)? {
            found.runs.push(run);
        }
        found.cut = Some(run);
    }
    found.cut.take_if(|_| rows.len() < *limit as usize);
    Ok(found)
}

/// Reads histories, as many as fit.
pub(crate) async fn load(session: &mut PostgresSession, load: &Load) -> Result<Loaded, StoreError> {
    let query = load_query(&session.shared.statements, load);
    loaded(&session.fetch(query).await?)
}

/// The query for histories.
pub(crate) fn load_query(statements: &Statements, load: &Load) -> PgQuery {
    let query = statements.query(LOAD_RUNS);
    query
        .bind(load.runs.iter().copied().map(uuid).bind_iter())
        .bind(load.after.map_or(0, |seq| seq.get().cast_signed()))
        .bind(byte_count(load.bytes))
        .bind(Frame::BYTES_WITHOUT_BODY as i32)
}

/// The histories in the rows of [`load_query`]. It does not check that they are complete: a damaged history must not keep
/// the other runs from loading.
pub(crate) fn loaded(rows: &[PgRow]) -> Result<Loaded, StoreError> {
    let mut bodies = Bodies::default();
    let mut histories: Vec<RunHistory> = Vec::new();
    for row in rows {
        let run = run_id(row, 0)?;
        let seq = get::<Option<i32>>(row, 1)?;
        let body = get::<Option<&[u8]>>(row, 5)?;
        if seq.is_some() && body.is_none() {
            return Ok(Loaded { histories, cut: Some(run) });
        }
        if histories.last().is_none_or(|last| last.run != run) {
            histories.push(RunHistory { run, frames: Vec::new() });
        }
        if let (Some(history), Some(seq), Some(body)) = (histories.last_mut(), seq, body) {
            history.frames.push(Frame {
                run,
                seq: EventSeq::new(seq.cast_unsigned()),
                count: get::<i32>(row, 2)?.cast_unsigned(),
                position: Position::new(get::<i64>(row, 3)?.cast_unsigned()),
                at: timestamp(row, 4)?,
                body: bodies.keep(body),
            });
        }
    }
    Ok(Loaded { histories, cut: None })
}

/// Reads the next deadlines.
pub(crate) async fn due_runs(session: &mut PostgresSession, due: &Due) -> Result<DueRuns, StoreError> {
    let after = due.after.unwrap_or(DueMark { wake_at: Timestamp::MIN, run: RunId::from_u128(0) });
    let query = session
        .query(DUE_RUNS)
        .bind(due.shards.iter().copied().map(shard_number).bind_iter())
        .bind(Time(after.wake_at))
        .bind(uuid(after.run))
        .bind(Time(due.until))
        .bind(i64::from(due.limit.max(1)));
    let rows = session.fetch(query).await?;
    let head = rows.first().ok_or_else(|| StoreError::corrupt("a read of deadlines returned no row"))?;
    let mark = |row| match get::<Option<Time>>(row, 1)? {
        Some(Time(wake_at)) => Ok(Some(DueMark { wake_at, run: run_id(row, 2)? })),
        None => Ok(None),
    };
    Ok(DueRuns {
        now: timestamp(head, 0)?,
        runs: rows.iter().filter_map(|row| mark(row).transpose()).collect::<Result<_, StoreError>>()?,
    })
}
