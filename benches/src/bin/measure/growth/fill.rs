//! Fills the log with copies of a recorded run, a million rows in seconds: valid histories that the engine can read. It
//! writes with SQL what an append writes, and must not run while a worker owns the shards.

use pgworkflows::store::{ClosedRun, Frame, OpenState};
use pgworkflows_benches::Failure;
use sqlx::postgres::PgQueryResult;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::database::GrowingDatabase;

/// The age of copies that were all born before anything that comes next, in milliseconds.
pub(super) const JUST_NOW: i64 = 1_000;

/// A recorded run, of which copies are made.
pub(super) struct Template {
    pub(super) workflow: &'static str,
    pub(super) frames: Vec<Frame>,
    pub(super) row: TemplateRow,
}

/// The row of a copy.
pub(super) enum TemplateRow {
    /// With its deadline in microseconds since 1970.
    Open {
        state: OpenState,
        wake_at: Option<i64>,
    },
    Closed(Box<ClosedRun>),
}

/// A connection that writes the copies.
pub(super) struct Filler(PgConnection);

impl Filler {
    pub(super) async fn connect(database: &GrowingDatabase) -> Result<Self, Failure> {
        let mut connection = database.connect().await?;
        // Rows that are lost in a crash are lost with the whole measurement, so no commit waits for the disk.
        connection.execute("set synchronous_commit = off").await?;
        connection.execute(AssertSqlSafe(format!("set search_path = {}", database.address.schema))).await?;
        Ok(Self(connection))
    }

    /// Makes copies, spread over the queue's shards, and a partition where one is missing. The last copy is born
    /// `age_millis` ago, the others before it, one per millisecond.
    pub(super) async fn copy(
        &mut self,
        template: &Template,
        count: u64,
        age_millis: i64,
    ) -> Result<(), Failure> {
        let count = i64::try_from(count)?;
        for age in [age_millis, age_millis + count] {
            let sql = "select make_partition(floor(extract(epoch from clock_timestamp()) * 1000)::bigint - $1, '10s')";
            sqlx::query(sql).bind(age).execute(&mut self.0).await?;
        }
        self.name_copies(count, age_millis).await?;
        self.copy_frames(&template.frames).await?;
        match &template.row {
            TemplateRow::Open { state, wake_at } => self.open(template.workflow, *state, *wake_at).await?,
            TemplateRow::Closed(closed) => self.close(template.workflow, closed).await?,
        };
        Ok(())
    }

    /// Leaves the tables as those of a running system: analysed, and with no checkpoint due.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        for table in ["frames", "closed_runs", "open_runs"] {
            self.0.execute(AssertSqlSafe(format!("vacuum (analyze) {table}"))).await?;
        }
        self.0.execute("checkpoint").await?;
        Ok(())
    }

    /// The number of frames in the log, by the statistics.
    pub(super) async fn frames(&mut self) -> Result<f64, Failure> {
        let sql = "select coalesce(sum(greatest(c.reltuples, 0)), 0)::float8 from pg_inherits i
                   join pg_class c on c.oid = i.inhrelid where i.inhparent = 'frames'::regclass";
        Ok(sqlx::query_scalar(sql).fetch_one(&mut self.0).await?)
    }

    /// Gives each copy an id, the shard that the id holds, and the position of the event before its first.
    async fn name_copies(&mut self, count: i64, age_millis: i64) -> Result<(), Failure> {
        self.0.execute("drop table if exists pg_temp.copies").await?;
        // A statement with parameters makes no table.
        let sql = format!(
            "create temp table copies as
             with s as materialized (
                 select s.shard, row_number() over (order by s.shard) - 1 as index, count(*) over () as count,
                        greatest(s.position_floor, coalesce(
                            (select max(f.position) from frames f where f.shard = s.shard), 0)) as position
                 from shards s where s.queue = 'default'
             ), now as (
                 select floor(extract(epoch from clock_timestamp()) * 1000)::bigint - {age_millis} - {count} as millis
             )
             select (lpad(to_hex(now.millis + i), 12, '0') || '7' || lpad(to_hex(s.shard::int), 3, '0') || '8'
                     || lpad(to_hex(i), 15, '0'))::uuid as run_id,
                    s.shard, s.position, i / s.count as place, to_timestamp((now.millis + i) / 1000.0) as at
             from now, generate_series(0::bigint, {count} - 1) i join s on s.index = i % s.count"
        );
        self.0.execute(AssertSqlSafe(sql)).await?;
        Ok(())
    }

    async fn copy_frames(&mut self, frames: &[Frame]) -> sqlx::Result<PgQueryResult> {
        let sql = "
            insert into frames (run_id, position, at, seq, count, shard, body)
            select c.run_id, c.position + c.place * $4 + t.seq + t.count - 1, c.at, t.seq, t.count, c.shard, t.body
            from pg_temp.copies c cross join unnest($1::int[], $2::int[], $3::bytea[]) as t (seq, count, body)
            order by c.place, c.shard, t.seq";
        sqlx::query(sql)
            .bind(frames.iter().map(|frame| frame.seq.get() as i32).collect::<Vec<_>>())
            .bind(frames.iter().map(|frame| frame.count as i32).collect::<Vec<_>>())
            .bind(frames.iter().map(|frame| frame.body.to_vec()).collect::<Vec<_>>())
            .bind(frames.iter().map(|frame| i64::from(frame.count)).sum::<i64>())
            .execute(&mut self.0)
            .await
    }

    async fn open(
        &mut self,
        workflow: &str,
        state: OpenState,
        wake_at: Option<i64>,
    ) -> sqlx::Result<PgQueryResult> {
        let number: i16 = match state {
            OpenState::Pending => 0,
            OpenState::Busy => 1,
            OpenState::Parked => 2,
            OpenState::Stalled => 3,
            OpenState::Paused => 4,
        };
        let sql = "insert into open_runs (run_id, wake_at, shard, state, workflow)
                   select run_id, to_timestamp($1 / 1000000.0), shard, $2, $3 from pg_temp.copies";
        let wake_at = wake_at.map(|micros| micros as f64);
        sqlx::query(sql).bind(wake_at).bind(number).bind(workflow).execute(&mut self.0).await
    }

    async fn close(&mut self, workflow: &str, closed: &ClosedRun) -> sqlx::Result<PgQueryResult> {
        let sql = "insert into closed_runs (run_id, closed_at, shard, status, workflow, outcome)
                   select run_id, at, shard, 0, $1, $2 from pg_temp.copies";
        sqlx::query(sql).bind(workflow).bind(closed.outcome.to_vec()).execute(&mut self.0).await
    }
}
