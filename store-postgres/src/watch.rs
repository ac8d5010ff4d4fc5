//! What clients wait for: whether their runs are over, and what they publish. It must not know how often a client asks.

use std::collections::BTreeMap;

use pgworkflows_core::RunId;
use pgworkflows_core::id::EventSeq;
use pgworkflows_core::store::{ClosedRun, Notice, Reply, StoreError, Topic, Watch, Watched, What};
use sqlx::postgres::{PgBindIterExt, PgRow};

use crate::shared::Shared;
use crate::values::{
    byte_count, bytes, closed_status, get, message_id, message_uuid, optional_run_id, run_id, timestamp, uuid,
};

/// The runs that are over, as many as fit into `$2` bytes. The first one that does not fit comes without its outcome.
const CLOSED: &str = "
    select c.run_id, c.workflow, c.key, c.parent, c.status, c.closed_at,
           case when c.number = 1 or c.before + c.bytes <= $2 then c.outcome end as outcome
    from (
        select c.*, pg_catalog.row_number() over runs as number,
               pg_catalog.sum(c.bytes) over runs - c.bytes as before
        from (select c.*, pg_catalog.octet_length(c.outcome) as bytes from @schema@.closed($1) c) c
        window runs as (order by c.run_id rows unbounded preceding)
    ) c
    where c.number <= 2 or c.before <= $2
    order by c.run_id";

/// The last event of each run that published a view.
const PUBLISHED: &str = "select p.run_id, p.seq from @schema@.last_published($1) p";

/// Replies, as many as fit into `$3` bytes. The first one that does not fit comes without its body.
const REPLIES: &str = "
    select r.run_id, r.message_id, case when r.number = 1 or r.before + r.bytes <= $3 then r.body end as body
    from (
        select r.*, pg_catalog.row_number() over replies as number,
               pg_catalog.sum(r.bytes) over replies - r.bytes as before
        from (select r.*, pg_catalog.octet_length(r.body) as bytes from @schema@.replies_to($1, $2) r) r
        window replies as (order by r.run_id, r.message_id rows unbounded preceding)
    ) r
    where r.number <= 2 or r.before <= $3
    order by r.run_id, r.message_id";

/// Returns the topics that have happened.
pub(crate) async fn watch(shared: &Shared, watch: &Watch) -> Result<Watched, StoreError> {
    let closed = closed(shared, watch).await?;
    let published = published(shared, watch).await?;
    let replied = replied(shared, watch).await?;
    if published.is_empty() && replied.notices.is_empty() {
        return Ok(closed);
    }
    // Each of them fits into the limit, but maybe not both.
    let cut = closed.cut.into_iter().chain(replied.cut).min();
    let notices = closed.notices.into_iter().chain(published).chain(replied.notices);
    let mut notices: Vec<Notice> =
        notices.filter(|notice| cut.is_none_or(|cut| notice.topic() < cut)).collect();
    notices.sort_by_key(Notice::topic);
    let watched = Watched::within(watch.bytes, notices);
    Ok(Watched { cut: watched.cut.or(cut), ..watched })
}

/// The messages that have a reply.
async fn replied(shared: &Shared, watch: &Watch) -> Result<Watched, StoreError> {
    let mut watched = Watched { notices: Vec::new(), cut: None };
    let asked = watch.topics.iter().filter_map(|topic| match topic.what {
        What::Replied { message } => Some((uuid(topic.run), message_uuid(message))),
        What::Closed | What::Published { .. } => None,
    });
    let (runs, messages): (Vec<_>, Vec<_>) = asked.unzip();
    if runs.is_empty() {
        return Ok(watched);
    }
    let query = shared.statements.query(REPLIES).bind(runs).bind(messages).bind(byte_count(watch.bytes));
    for row in &shared.fetch(query).await? {
        let (run, message) = (run_id(row, "run_id")?, message_id(row, "message_id")?);
        if get::<Option<&[u8]>>(row, "body")?.is_none() {
            watched.cut = Some(Topic { run, what: What::Replied { message } });
            break;
        }
        watched.notices.push(Notice::Replied(Reply { run, message, body: bytes(row, "body")? }));
    }
    Ok(watched)
}

/// The runs that are over.
async fn closed(shared: &Shared, watch: &Watch) -> Result<Watched, StoreError> {
    let mut watched = Watched { notices: Vec::new(), cut: None };
    let topics = watch.topics.iter().filter(|topic| topic.what == What::Closed);
    let runs: Vec<_> = topics.map(|topic| uuid(topic.run)).collect();
    if runs.is_empty() {
        return Ok(watched);
    }
    let query = shared.statements.query(CLOSED).bind(runs).bind(byte_count(watch.bytes));
    for row in &shared.fetch(query).await? {
        if get::<Option<&[u8]>>(row, "outcome")?.is_none() {
            watched.cut = Some(Topic { run: run_id(row, "run_id")?, what: What::Closed });
            break;
        }
        watched.notices.extend(closed_run(row)?.map(Notice::Closed));
    }
    Ok(watched)
}

/// The runs that have published a view since.
async fn published(shared: &Shared, watch: &Watch) -> Result<Vec<Notice>, StoreError> {
    let asked = watch.topics.iter().filter_map(|topic| match topic.what {
        What::Published { after } => Some((topic.run, after)),
        What::Closed | What::Replied { .. } => None,
    });
    let mut runs: Vec<RunId> = asked.clone().map(|(run, _)| run).collect();
    runs.dedup();
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let query = shared.statements.query(PUBLISHED).bind(runs.into_iter().map(uuid).bind_iter());
    let mut last: BTreeMap<RunId, EventSeq> = BTreeMap::new();
    for row in &shared.fetch(query).await? {
        last.insert(run_id(row, 0)?, EventSeq::new(get::<i32>(row, 1)?.cast_unsigned()));
    }
    let notice = |(run, after)| {
        let seq = *last.get(&run)?;
        (Some(seq) > after).then_some(Notice::Published { run, after, seq })
    };
    Ok(asked.filter_map(notice).collect())
}

/// The closed run in a row; `None` if the run is open.
pub(crate) fn closed_run(row: &PgRow) -> Result<Option<ClosedRun>, StoreError> {
    let Some(status) = get::<Option<i16>>(row, "status")? else { return Ok(None) };
    Ok(Some(ClosedRun {
        run: run_id(row, "run_id")?,
        workflow: get::<String>(row, "workflow")?.into(),
        key: get(row, "key")?,
        parent: optional_run_id(row, "parent")?,
        status: closed_status(status),
        closed_at: timestamp(row, "closed_at")?,
        outcome: bytes(row, "outcome")?,
    }))
}
