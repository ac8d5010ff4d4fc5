//! What clients wait for: whether their runs are over. It must not know how often a client asks.

use pgworkflows_core::store::{ClosedRun, Notice, StoreError, Topic, Watch, Watched, What};
use sqlx::postgres::{PgBindIterExt, PgRow};

use crate::shared::Shared;
use crate::values::{byte_count, bytes, closed_status, get, run_id, timestamp, uuid};

/// The runs that are over, as many as fit into `$2` bytes. The first one that does not fit comes without its outcome.
const CLOSED: &str = "
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

/// Returns the topics that have happened.
pub(crate) async fn watch(shared: &Shared, watch: &Watch) -> Result<Watched, StoreError> {
    let runs = watch.topics.iter().map(|Topic { run, what: What::Closed }| uuid(*run));
    let query = shared.statements.query(CLOSED).bind(runs.bind_iter()).bind(byte_count(watch.bytes));
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

/// The closed run in a row; `None` if the run is open.
pub(crate) fn closed_run(row: &PgRow) -> Result<Option<ClosedRun>, StoreError> {
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
