//! The reads of people and clients. No processor reads through here.

use std::collections::BTreeMap;

use async_trait::async_trait;
use pgworkflows_core::id::{EventSeq, RunId};
use pgworkflows_core::store::{
    Bodies, ClosedRun, EventRecord, Notice, OpenRow, RunDescription, RunFilter, RunPage, StoreError,
    StoreQuery, Topic, Undelivered, Watch, Watched, What,
};
use sqlx::postgres::{PgBindIterExt, PgRow};

use crate::PostgresStore;
use crate::recover::event_record;
use crate::store::Shared;
use crate::values::{
    Time, byte_count, bytes, closed_status, closed_status_number, get, open_state, open_state_number, run_id,
    timestamp, uuid,
};

/// The runs that are over, as many as fit into `$2` bytes. The first one that does not fit comes without its outcome.
pub(crate) const CLOSED: &str = "
    select c.run_id, c.workflow, c.key, c.status, c.closed_at,
           case when c.number = 1 or c.before + c.bytes <= $2 then c.outcome end as outcome
    from (
        select c.*, pg_catalog.row_number() over runs as number,
               pg_catalog.sum(c.bytes) over runs - c.bytes as before
        from (select c.*, pg_catalog.octet_length(c.outcome) as bytes from @schema@.closed($1) c) c
        window runs as (order by c.run_id rows unbounded preceding)
    ) c
    where c.number <= 2 or c.before <= $2
    order by c.run_id";

/// One snapshot for both tables, so that a run which is just ending is in exactly one of them.
pub(crate) const DESCRIBE: &str = "
    select o.run_id, o.workflow, o.key, o.state, o.wake_at, o.waiting_on,
           null::smallint as status, null::timestamptz as closed_at, null::bytea as outcome
    from @schema@.open_runs o where o.run_id = $1
    union all
    select c.run_id, c.workflow, c.key, null, null, null, c.status, c.closed_at, c.outcome
    from @schema@.closed_runs c where c.run_id = $1";

pub(crate) const UNDELIVERED: &str = "
    select u.run_id, u.body, u.at from @schema@.undelivered u
    where u.run_id = any ($1) order by u.run_id, u.number";

pub(crate) const FIND: &str = "
    select k.run_id from @schema@.run_keys k where k.workflow = $1 and k.key = $2";

/// Each half returns up to the limit, by its primary key in descending order.
pub(crate) const LIST: &str = "
    select * from (
        (select o.run_id, o.workflow, o.key, o.state, o.wake_at, o.waiting_on,
                null::smallint as status, null::timestamptz as closed_at, null::bytea as outcome
         from @schema@.open_runs o
         where $1 and o.run_id < $3 and ($4::text is null or o.workflow = $4)
           and ($5::smallint is null or o.state = $5)
         order by o.run_id desc limit $7)
        union all
        (select c.run_id, c.workflow, c.key, null, null, null, c.status, c.closed_at, c.outcome
         from @schema@.closed_runs c
         where $2 and c.run_id < $3 and ($4::text is null or c.workflow = $4)
           and ($6::smallint is null or c.status = $6)
         order by c.run_id desc limit $7)
    ) r
    order by r.run_id desc limit $7";

pub(crate) const HISTORY: &str = "
    select e.seq, e.position, e.name, e.at, e.body from @schema@.events e
    where e.run_id = $1 and e.seq > $2 order by e.seq limit $3";

/// Returns the topics that have happened.
pub(crate) async fn watch(shared: &Shared, watch: &Watch) -> Result<Watched, StoreError> {
    let runs = watch.topics.iter().map(|Topic { run, what: What::Closed }| uuid(*run));
    let query = shared.statements.closed.query().bind(runs.bind_iter()).bind(byte_count(watch.bytes));
    let mut notices = Vec::new();
    for row in &shared.fetch(query).await? {
        if get::<Option<&[u8]>>(row, "outcome")?.is_none() {
            let cut = Some(Topic { run: run_id(row, "run_id")?, what: What::Closed });
            return Ok(Watched { notices, cut });
        }
        notices.extend(closed_run(row)?.map(Notice::Closed));
    }
    Ok(Watched { notices, cut: None })
}

#[async_trait]
impl StoreQuery for PostgresStore {
    async fn describe(&self, run: RunId) -> Result<Option<RunDescription>, StoreError> {
        let query = self.shared.statements.describe.query().bind(uuid(run));
        let rows = self.shared.fetch(query).await?;
        Ok(descriptions(&self.shared, &rows).await?.pop())
    }

    async fn find(&self, workflow: &str, key: &str) -> Result<Option<RunId>, StoreError> {
        let query = self.shared.statements.find.query().bind(workflow.to_owned()).bind(key.to_owned());
        let rows = self.shared.fetch(query).await?;
        rows.first().map(|row| run_id(row, 0)).transpose()
    }

    async fn list(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<RunDescription>, StoreError> {
        // A state selects open runs, a status selects closed ones.
        let open = filter.open != Some(false) && filter.status.is_none();
        let closed = filter.open != Some(true) && filter.state.is_none();
        let query = self
            .shared
            .statements
            .list
            .query()
            .bind(open)
            .bind(closed)
            .bind(uuid(page.before.unwrap_or(RunId::from_u128(u128::MAX))))
            .bind(filter.workflow.clone())
            .bind(filter.state.map(open_state_number))
            .bind(filter.status.map(closed_status_number))
            .bind(i64::from(page.limit.max(1)));
        let rows = self.shared.fetch(query).await?;
        descriptions(&self.shared, &rows).await
    }

    async fn history(
        &self,
        run: RunId,
        after: Option<EventSeq>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let query = self
            .shared
            .statements
            .history
            .query()
            .bind(uuid(run))
            .bind(after.map_or(0, |seq| seq.get().cast_signed()))
            .bind(i64::from(limit.max(1)));
        let rows = self.shared.fetch(query).await?;
        let mut bodies = Bodies::default();
        rows.iter().map(|row| event_record(row, 0, &mut bodies)).collect()
    }
}

/// The rows as descriptions, with their undelivered messages.
async fn descriptions(shared: &Shared, rows: &[PgRow]) -> Result<Vec<RunDescription>, StoreError> {
    let mut descriptions = rows.iter().map(description).collect::<Result<Vec<_>, _>>()?;
    if descriptions.is_empty() {
        return Ok(descriptions);
    }
    let runs = descriptions.iter().map(|description| uuid(description.run)).bind_iter();
    let query = shared.statements.undelivered.query().bind(runs);
    let mut undelivered: BTreeMap<RunId, Vec<Undelivered>> = BTreeMap::new();
    for row in shared.fetch(query).await? {
        let message = Undelivered { body: bytes(&row, 1)?, at: timestamp(&row, 2)? };
        undelivered.entry(run_id(&row, 0)?).or_default().push(message);
    }
    for description in &mut descriptions {
        description.undelivered = undelivered.remove(&description.run).unwrap_or_default();
    }
    Ok(descriptions)
}

fn description(row: &PgRow) -> Result<RunDescription, StoreError> {
    Ok(RunDescription {
        run: run_id(row, "run_id")?,
        workflow: get(row, "workflow")?,
        key: get(row, "key")?,
        open: open_row(row)?,
        closed: closed_run(row)?,
        undelivered: Vec::new(),
    })
}

fn open_row(row: &PgRow) -> Result<Option<OpenRow>, StoreError> {
    let Some(state) = get::<Option<i16>>(row, "state")? else { return Ok(None) };
    Ok(Some(OpenRow {
        state: open_state(state),
        wake_at: get::<Option<Time>>(row, "wake_at")?.map(|Time(at)| at),
        waiting_on: get(row, "waiting_on")?,
    }))
}

fn closed_run(row: &PgRow) -> Result<Option<ClosedRun>, StoreError> {
    let Some(status) = get::<Option<i16>>(row, "status")? else { return Ok(None) };
    Ok(Some(ClosedRun {
        run: run_id(row, "run_id")?,
        workflow: get::<String>(row, "workflow")?.into(),
        key: get(row, "key")?,
        status: closed_status(status),
        closed_at: timestamp(row, "closed_at")?,
        outcome: bytes(row, "outcome")?,
    }))
}
