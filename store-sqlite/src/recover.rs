//! Reads what a processor needs to recover and wake runs: histories, and parked runs by their deadlines. It must not know what
//! an event says.

use std::collections::BTreeSet;

use pgworkflows_core::id::{RunId, ShardId};
use pgworkflows_core::store::{
    Bodies, Due, DueMark, DueRuns, Frame, Load, Loaded, RunHistory, StoreError, Unparked, UnparkedRuns,
};
use sqlx::sqlite::SqliteRow;

use crate::connection::{Connection, Listed, parts};
use crate::transaction::now;
use crate::values::{Arguments, get};

/// Shard by shard, each in the order of its index, which has no parked runs. Of a pending run, the log may have an event.
const UNPARKED: Listed = Listed {
    text: "select o.run_id, o.state <> 0 or exists (select 1 from frames f where f.run_id = o.run_id)
           from (values {}) as t
           cross join open_runs o on o.shard = t.column1 and o.state in (0, 1, 3) and o.run_id > t.column2
           limit ?",
    width: 2,
};

/// Run by run in the given order, each in the order of its frames. A run without a frame has one row, and whether it is known.
const LOAD: Listed = Listed {
    text: "select t.column1, f.seq, f.count, f.position, f.at, f.body,
                  f.seq is not null or exists (select 1 from open_runs o where o.run_id = t.column1)
                  or exists (select 1 from closed_runs c where c.run_id = t.column1)
           from (values {}) as t
           left join frames f on f.run_id = t.column1 and f.seq > t.column2",
    width: 2,
};

/// In the order of deadlines: whose shard is not asked for is passed over.
const DUE: Listed = Listed {
    text: "with asked (shard) as (values {})
           select o.wake_at, o.run_id from open_runs o indexed by open_runs_by_deadline
           where o.wake_at is not null and (o.wake_at, o.run_id) > (?, ?) and o.wake_at <= ?
             and o.shard in (select a.shard from asked a)
           order by o.wake_at, o.run_id limit ?",
    width: 1,
};

const RUN_MIN: RunId = RunId::from_u128(0);

/// The busy and stalled runs of some shards, by shard.
pub(crate) async fn unparked(
    connection: &mut Connection,
    unparked: &Unparked,
) -> Result<UnparkedRuns, StoreError> {
    let Unparked { shards, after, limit } = unparked;
    let begins = after.map(RunId::shard);
    let shards: BTreeSet<ShardId> = shards.iter().copied().filter(|shard| Some(*shard) >= begins).collect();
    let shards: Vec<_> = shards
        .into_iter()
        .map(|shard| (shard, after.filter(|run| run.shard() == shard).unwrap_or(RUN_MIN)))
        .collect();
    let mut found: Vec<(RunId, bool)> = Vec::new();
    for part in parts(&shards) {
        let left = i64::from(*limit) - found.len() as i64;
        let add = |a: &mut Arguments, (shard, after): &(ShardId, RunId)| _ = a.add(*shard).add(*after);
        let statement = connection.listed(&UNPARKED, part, add, |a| _ = a.add(left));
        for row in connection.fetch(statement).await? {
            found.push((get(&row, 0)?, get(&row, 1)?));
        }
    }
    let cut = found.last().filter(|_| found.len() == *limit as usize).map(|(run, _)| *run);
    let runs = found.into_iter().filter(|(_, begun)| *begun).map(|(run, _)| run).collect();
    Ok(UnparkedRuns { runs, cut })
}

/// Histories, up to the first frame that exceeds the limit of bytes.
pub(crate) async fn load(connection: &mut Connection, load: &Load) -> Result<Loaded, StoreError> {
    let after = |index: usize| load.after.filter(|_| index == 0).map_or(0, |seq| i64::from(seq.get()));
    let runs: Vec<_> = load.runs.iter().enumerate().map(|(index, run)| (*run, after(index))).collect();
    let mut loading = Loading { limit: load.bytes, ..Loading::default() };
    for part in parts(&runs) {
        let add = |a: &mut Arguments, (run, after): &(RunId, i64)| _ = a.add(*run).add(*after);
        let statement = connection.listed(&LOAD, part, add, |_| {});
        connection.fetch_while(statement, |row| loading.take(&row)).await?;
        if let Some(error) = loading.error {
            return Err(error);
        }
        if loading.cut.is_some() {
            break;
        }
    }
    Ok(Loaded { histories: loading.histories, cut: loading.cut })
}

/// Histories that are being read.
#[derive(Default)]
struct Loading {
    histories: Vec<RunHistory>,
    bodies: Bodies,
    bytes: usize,
    limit: usize,
    cut: Option<RunId>,
    error: Option<StoreError>,
}

impl Loading {
    /// Takes a row. Returns whether the next one may fit.
    fn take(&mut self, row: &SqliteRow) -> bool {
        match self.try_take(row) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                self.error = Some(error);
                false
            }
        }
    }

    fn try_take(&mut self, row: &SqliteRow) -> Result<bool, StoreError> {
        if !get::<bool>(row, 6)? {
            return Ok(true);
        }
        let run: RunId = get(row, 0)?;
        let frame = frame(row, run, &mut self.bodies)?;
        if let Some(frame) = &frame {
            let is_first = self.bytes == 0;
            self.bytes += frame.bytes();
            if !is_first && self.bytes > self.limit {
                self.cut = Some(run);
                return Ok(false);
            }
        }
        match self.histories.last_mut() {
            Some(history) if history.run == run => history.frames.extend(frame),
            Some(_) | None => self.histories.push(RunHistory { run, frames: frame.into_iter().collect() }),
        }
        Ok(true)
    }
}

/// The frame in a row, if there is one.
fn frame(row: &SqliteRow, run: RunId, bodies: &mut Bodies) -> Result<Option<Frame>, StoreError> {
    let Some(seq) = get(row, 1)? else { return Ok(None) };
    let body: bytes::Bytes = get(row, 5)?;
    Ok(Some(Frame {
        run,
        seq,
        count: get(row, 2)?,
        position: get(row, 3)?,
        at: get(row, 4)?,
        body: bodies.keep(&body),
    }))
}

/// Parked runs by their deadlines.
pub(crate) async fn due_runs(connection: &mut Connection, due: &Due) -> Result<DueRuns, StoreError> {
    let Due { shards, after, until, limit } = due;
    if shards.is_empty() {
        return Ok(DueRuns { runs: Vec::new(), now: now() });
    }
    let statement = connection.listed(
        &DUE,
        shards,
        |a, shard| _ = a.add(*shard),
        |a| {
            let DueMark { wake_at, run } =
                after.unwrap_or(DueMark { wake_at: pgworkflows_core::Timestamp::MIN, run: RUN_MIN });
            a.add(wake_at).add(run).add(*until).add(i64::from(*limit));
        },
    );
    let rows = connection.fetch(statement).await?;
    let mark = |row| Ok(DueMark { wake_at: get(row, 0)?, run: get(row, 1)? });
    Ok(DueRuns { runs: rows.iter().map(mark).collect::<Result<_, _>>()?, now: now() })
}
