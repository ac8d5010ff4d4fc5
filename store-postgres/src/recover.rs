//! Recovery and waking: whole histories, and parked runs by their deadlines.

use std::collections::BTreeMap;

use pgworkflows::store::{Bodies, Due, DueMark, DueRuns, EventRecord, Load, RunHistory, StoreError};
use pgworkflows::{EventName, EventSeq, Position, RunId, Timestamp};
use sqlx::postgres::{PgBindIterExt, PgRow};

use crate::session::PostgresSession;
use crate::values::{Time, get, run_id, shard_number, timestamp, uuid};

pub(crate) const LOAD_RUNS: &str = "select * from @schema@.load_runs($1)";

pub(crate) const LOAD_UNPARKED: &str = "select * from @schema@.load_unparked($1, $2, $3)";

/// The time comes even where no run is due.
pub(crate) const DUE_RUNS: &str = "
    select now.at, d.wake_at, d.run_id
    from (select clock_timestamp() as at) now
    left join @schema@.due_runs($1, $2, $3, $4, $5) d on true
    order by d.wake_at, d.run_id";

/// Reads histories, ascending by run.
pub(crate) async fn load(session: &mut PostgresSession, load: &Load) -> Result<Vec<RunHistory>, StoreError> {
    let statements = &session.shared.statements;
    let query = match load {
        Load::Runs(runs) => statements.load_runs.query().bind(runs.iter().copied().map(uuid).bind_iter()),
        Load::Unparked { shards, after, limit } => statements
            .load_unparked
            .query()
            .bind(shards.iter().copied().map(shard_number).bind_iter())
            .bind(uuid(after.unwrap_or(RunId::from_u128(0))))
            .bind(i64::from((*limit).max(1))),
    };
    let rows = session.fetch(query).await?;
    let mut bodies = Bodies::default();
    let mut histories: BTreeMap<RunId, Vec<EventRecord>> = BTreeMap::new();
    for row in &rows {
        // Rows come in no particular order: sorting histories here spares the server sorting their bodies.
        let events = histories.entry(run_id(row, 0)?).or_default();
        if get::<Option<i32>>(row, 1)?.is_some() {
            events.push(event_record(row, 1, &mut bodies)?);
        }
    }
    histories.into_iter().map(|(run, events)| history(run, events)).collect()
}

/// A whole history: sorted, and without a gap.
fn history(run: RunId, mut events: Vec<EventRecord>) -> Result<RunHistory, StoreError> {
    events.sort_unstable_by_key(|event| event.seq);
    let mut expected = EventSeq::FIRST;
    for event in &events {
        if event.seq != expected {
            return Err(StoreError::corrupt(format!(
                "event {expected} of run {run} is missing in the log: was a partition dropped by hand?"
            )));
        }
        expected = expected.next();
    }
    Ok(RunHistory { run, events })
}

/// An event whose `seq, position, name, at, body` stand in the row from that column on.
pub(crate) fn event_record(
    row: &PgRow,
    first: usize,
    bodies: &mut Bodies,
) -> Result<EventRecord, StoreError> {
    Ok(EventRecord {
        seq: EventSeq::new(get::<i32>(row, first)?.cast_unsigned()),
        position: Position::new(get::<i64>(row, first + 1)?.cast_unsigned()),
        name: EventName::from_stored(get(row, first + 2)?),
        at: timestamp(row, first + 3)?,
        body: bodies.keep(get(row, first + 4)?),
    })
}

/// Reads the next deadlines.
pub(crate) async fn due_runs(session: &mut PostgresSession, due: &Due) -> Result<DueRuns, StoreError> {
    let after = due.after.unwrap_or(DueMark { wake_at: Timestamp::MIN, run: RunId::from_u128(0) });
    let query = session
        .shared
        .statements
        .due_runs
        .query()
        .bind(due.shards.iter().copied().map(shard_number).bind_iter())
        .bind(Time(after.wake_at))
        .bind(uuid(after.run))
        .bind(Time(due.until))
        .bind(i64::from(due.limit.max(1)));
    let rows = session.fetch(query).await?;
    let head = rows.first().ok_or_else(|| StoreError::corrupt("a read of deadlines answered nothing"))?;
    let mark = |row| match get::<Option<Time>>(row, 1)? {
        Some(Time(wake_at)) => Ok(Some(DueMark { wake_at, run: run_id(row, 2)? })),
        None => Ok(None),
    };
    Ok(DueRuns {
        now: timestamp(head, 0)?,
        runs: rows.iter().filter_map(|row| mark(row).transpose()).collect::<Result<_, StoreError>>()?,
    })
}
