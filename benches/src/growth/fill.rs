//! Fills the log with copies of recorded runs, a million rows in seconds: valid histories that the engine can read. It
//! writes with SQL what an append writes, and must not run while a worker owns the shards.

use std::time::Duration;

use pgworkflows::store::{ClosedRun, EventRecord, OpenState};
use sqlx::{Connection, PgConnection, Row};

use crate::Failure;
use crate::ground::Address;

/// A recorded run, of which copies are made.
pub(super) struct Template {
    pub(super) workflow: &'static str,
    pub(super) events: Vec<EventRecord>,
    pub(super) row: TemplateRow,
}

/// The row of a copy.
pub(super) enum TemplateRow {
    Open { state: OpenState, wake_at_micros: Option<i64> },
    Closed(Box<ClosedRun>),
}

/// How copies are spread.
pub(super) struct Copies {
    pub(super) count: u64,
    /// How long ago the last of them was born, in milliseconds. The others were born before it, one per millisecond.
    pub(super) age_millis: i64,
}

/// Who fills.
pub(super) struct Filler {
    connection: PgConnection,
    schema: String,
}

impl Filler {
    pub(super) async fn connect(address: &Address) -> Result<Self, Failure> {
        let mut connection = PgConnection::connect(&address.url).await?;
        // Whatever is lost with the machine is lost with the whole server: nobody waits for each commit here.
        sqlx::query("set synchronous_commit = off").execute(&mut connection).await?;
        Ok(Self { connection, schema: address.schema.clone() })
    }

    /// Makes copies, spread over the queue's shards, and a partition where one is missing.
    pub(super) async fn copy(&mut self, template: &Template, copies: &Copies) -> Result<(), Failure> {
        self.make_partitions(copies).await?;
        self.name_copies(copies).await?;
        self.copy_events(&template.events).await?;
        match &template.row {
            TemplateRow::Open { state, wake_at_micros } => {
                self.open(template.workflow, *state, *wake_at_micros).await
            }
            TemplateRow::Closed(closed) => self.close(template.workflow, closed).await,
        }
    }

    /// Leaves the tables as a database that lives has them: analysed, and without a burst of work left over.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        for statement in [
            "vacuum (analyze) @schema@.events",
            "vacuum (analyze) @schema@.closed_runs",
            "vacuum (analyze) @schema@.open_runs",
            "checkpoint",
        ] {
            self.execute(statement).await?;
        }
        Ok(())
    }

    /// The number of events in the log, by the statistics.
    pub(super) async fn events(&mut self) -> Result<f64, Failure> {
        let sql = "select coalesce(sum(greatest(c.reltuples, 0)), 0)::float8 from pg_inherits i
                   join pg_class c on c.oid = i.inhrelid where i.inhparent = '@schema@.events'::regclass";
        let row = sqlx::query(sqlx::AssertSqlSafe(sql.replace("@schema@", &self.schema)))
            .fetch_one(&mut self.connection)
            .await?;
        Ok(row.try_get(0)?)
    }

    async fn make_partitions(&mut self, copies: &Copies) -> Result<(), Failure> {
        for age in [copies.age_millis, copies.age_millis + i64::try_from(copies.count)?] {
            let sql = "select @schema@.make_partition(
                           floor(extract(epoch from clock_timestamp()) * 1000)::bigint - $1, '10s')";
            sqlx::query(sqlx::AssertSqlSafe(sql.replace("@schema@", &self.schema)))
                .bind(age)
                .execute(&mut self.connection)
                .await?;
        }
        Ok(())
    }

    /// Gives each copy an id, the shard that the id holds, and the position of the event before its first.
    async fn name_copies(&mut self, copies: &Copies) -> Result<(), Failure> {
        self.execute("drop table if exists pg_temp.copies").await?;
        let sql = "
            create temp table copies as
            with shards as materialized (
                select s.shard, row_number() over (order by s.shard) - 1 as index, count(*) over () as count,
                       greatest(s.position_floor, coalesce(
                           (select max(e.position) from @schema@.events e where e.shard = s.shard), 0)) as position
                from @schema@.shards s where s.queue = 'default'
            ), now as (
                select floor(extract(epoch from clock_timestamp()) * 1000)::bigint - $1 - $2 as millis
            )
            select (lpad(to_hex(now.millis + i), 12, '0') || '7' || lpad(to_hex(s.shard::int), 3, '0') || '8'
                    || lpad(to_hex(i), 15, '0'))::uuid as run_id,
                   s.shard, s.position, i / s.count as place, to_timestamp((now.millis + i) / 1000.0) as at
            from now, generate_series(0::bigint, $2 - 1) i join shards s on s.index = i % s.count";
        // A statement with parameters makes no table: both are numbers of our own.
        let sql = sql.replace("$1", &copies.age_millis.to_string()).replace("$2", &copies.count.to_string());
        self.execute(&sql).await
    }

    async fn copy_events(&mut self, events: &[EventRecord]) -> Result<(), Failure> {
        let sql = "
            insert into @schema@.events (run_id, position, at, seq, shard, name, body)
            select c.run_id, c.position + c.place * $4 + t.seq, c.at, t.seq, c.shard, t.name, t.body
            from pg_temp.copies c cross join unnest($1::int[], $2::text[], $3::bytea[]) as t (seq, name, body)
            order by c.place, c.shard, t.seq";
        sqlx::query(sqlx::AssertSqlSafe(sql.replace("@schema@", &self.schema)))
            .bind(events.iter().map(|event| event.seq.get() as i32).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.name.as_str().to_owned()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.body.to_vec()).collect::<Vec<_>>())
            .bind(i64::try_from(events.len())?)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn open(
        &mut self,
        workflow: &str,
        state: OpenState,
        wake_at_micros: Option<i64>,
    ) -> Result<(), Failure> {
        let number: i16 = match state {
            OpenState::Pending => 0,
            OpenState::Busy => 1,
            OpenState::Parked => 2,
            OpenState::Stalled => 3,
        };
        let sql = "
            insert into @schema@.open_runs (run_id, wake_at, shard, state, workflow)
            select c.run_id, to_timestamp($1 / 1000000.0), c.shard, $2, $3 from pg_temp.copies c";
        sqlx::query(sqlx::AssertSqlSafe(sql.replace("@schema@", &self.schema)))
            .bind(wake_at_micros.map(|micros| micros as f64))
            .bind(number)
            .bind(workflow)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn close(&mut self, workflow: &str, closed: &ClosedRun) -> Result<(), Failure> {
        let sql = "
            insert into @schema@.closed_runs (run_id, closed_at, shard, status, workflow, outcome)
            select c.run_id, c.at, c.shard, 0, $1, $2 from pg_temp.copies c";
        sqlx::query(sqlx::AssertSqlSafe(sql.replace("@schema@", &self.schema)))
            .bind(workflow)
            .bind(closed.outcome.to_vec())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        sqlx::query(sqlx::AssertSqlSafe(sql.replace("@schema@", &self.schema)))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}

/// How old copies must be, so that none is born after what comes next.
pub(super) const JUST_NOW: i64 = 1_000;

/// A deadline far enough away that it never comes while anything is measured.
pub(super) const FAR: Duration = Duration::from_secs(30 * 24 * 3_600);
