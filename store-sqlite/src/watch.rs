//! What clients wait for: whether their runs are over, and what they publish. It must not know how often a client asks.

use std::collections::BTreeMap;

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::id::{EventSeq, MessageId};
use pgworkflows_core::store::{
    ClosedRun, ClosedStatus, Notice, Reply, StoreError, Topic, Watch, Watched, What,
};
use sqlx::sqlite::SqliteRow;

use crate::chain::current_run;
use crate::connection::{Connection, Listed, parts};
use crate::values::{Arguments, get};

/// The ends of runs: if a run was continued, that of the last run of its chain.
const CLOSED: Listed = Listed {
    text: concat!(
        "with t (run) as (values {}), r (run, last) as (select run, ",
        current_run!("run"),
        " from t)
        select r.run, c.workflow, c.key, c.parent, c.status, c.closed_at, c.outcome
        from r cross join closed_runs c on c.run_id = r.last and c.status not in (4, 5)"
    ),
    width: 1,
};

/// The last event of each run that published a view; for a run that another one continues, the greatest number.
const PUBLISHED: Listed = Listed {
    text: "select t.column1,
                  case when exists (select 1 from closed_runs c where c.run_id = t.column1 and c.status in (4, 5))
                       then 2147483647
                       else (select max(p.seq) from published p where p.run_id = t.column1) end
           from (values {}) as t",
    width: 1,
};

/// Replies: of the run, or of another one of its chain.
const REPLIES: Listed = Listed {
    text: "select t.column1, t.column2, coalesce(
               (select r.body from replies r where r.message_id = t.column2 and r.run_id = t.column1),
               (select r.body from replies r where r.message_id = t.column2 and exists (
                    select 1 from chains c where c.first_run = coalesce(
                        (select l.first_run from links l where l.run_id = t.column1), t.column1))
                order by r.run_id limit 1))
           from (values {}) as t",
    width: 2,
};

/// The topics that have happened.
pub(crate) async fn watch(connection: &mut Connection, watch: &Watch) -> Result<Watched, StoreError> {
    let mut closed = closed(connection, watch).await?;
    let published = published(connection, watch).await?;
    let replies = replies(connection, watch).await?;
    let notice = |topic: &Topic| match topic.what {
        What::Closed => closed.remove(&topic.run).map(Notice::Closed),
        What::Published { after } => {
            let seq = *published.get(&topic.run)?;
            (Some(seq) > after).then_some(Notice::Published { run: topic.run, after, seq })
        }
        What::Replied { message } => {
            let body = replies.get(&(topic.run, message))?.clone();
            Some(Notice::Replied(Reply { run: topic.run, message, body }))
        }
    };
    Ok(Watched::within(watch.bytes, watch.topics.iter().filter_map(notice)))
}

/// Rows of user data, ascending, of which no more are read than the answer can hold: up to the first that does not fit. The first
/// one always fits, so two are read at least.
struct Data<K, V> {
    found: BTreeMap<K, V>,
    bytes: usize,
    limit: usize,
    error: Option<StoreError>,
}

impl<K: Ord, V> Data<K, V> {
    fn new(limit: usize) -> Self {
        Self { found: BTreeMap::new(), bytes: 0, limit, error: None }
    }

    fn is_enough(&self) -> bool {
        self.error.is_some() || self.bytes > self.limit && self.found.len() >= 2
    }

    /// Takes a row. Returns whether to read the next one.
    fn take(&mut self, row: Result<Option<(K, V, usize)>, StoreError>) -> bool {
        match row {
            Ok(Some((key, value, bytes))) => {
                self.bytes += bytes;
                self.found.insert(key, value);
            }
            Ok(None) => {}
            Err(error) => self.error = Some(error),
        }
        !self.is_enough()
    }

    fn end(self) -> Result<BTreeMap<K, V>, StoreError> {
        self.error.map_or(Ok(self.found), Err)
    }
}

async fn closed(
    connection: &mut Connection,
    watch: &Watch,
) -> Result<BTreeMap<RunId, ClosedRun>, StoreError> {
    let asked = runs(watch, |what| *what == What::Closed);
    let mut data = Data::new(watch.bytes);
    for part in parts(&asked) {
        let statement = connection.listed(&CLOSED, part, |a, run| _ = a.add(*run), |_| {});
        let end = |row: &SqliteRow| {
            let end = closed_run(row)?;
            let bytes = end.outcome.len();
            Ok(Some((end.run, end, bytes)))
        };
        connection.fetch_while(statement, |row| data.take(end(&row))).await?;
        if data.is_enough() {
            break;
        }
    }
    data.end()
}

/// The runs of topics of a kind, ascending.
fn runs(watch: &Watch, is_wanted: impl Fn(&What) -> bool) -> Vec<RunId> {
    let topics = watch.topics.iter().filter(|topic| is_wanted(&topic.what));
    let mut runs: Vec<RunId> = topics.map(|topic| topic.run).collect();
    runs.dedup();
    runs
}

async fn published(
    connection: &mut Connection,
    watch: &Watch,
) -> Result<BTreeMap<RunId, EventSeq>, StoreError> {
    let asked = runs(watch, |what| matches!(what, What::Published { .. }));
    let mut published = BTreeMap::new();
    for row in connection.fetch_all(&PUBLISHED, &asked, |a, run| _ = a.add(*run), |_| {}).await? {
        let (run, seq) = (get(&row, 0)?, get::<Option<EventSeq>>(&row, 1)?);
        published.extend(seq.map(|seq| (run, seq)));
    }
    Ok(published)
}

async fn replies(
    connection: &mut Connection,
    watch: &Watch,
) -> Result<BTreeMap<(RunId, MessageId), Bytes>, StoreError> {
    let asked = watch.topics.iter().filter_map(|topic| match topic.what {
        What::Replied { message } => Some((topic.run, message)),
        What::Closed | What::Published { .. } => None,
    });
    let asked: Vec<_> = asked.collect();
    let mut data = Data::new(watch.bytes);
    let add = |a: &mut Arguments, (run, message): &(RunId, MessageId)| _ = a.add(*run).add(*message);
    let reply = |row: &SqliteRow| {
        let Some(body) = get::<Option<Bytes>>(row, 2)? else { return Ok(None) };
        Ok(Some(((get(row, 0)?, get(row, 1)?), body.clone(), body.len())))
    };
    for part in parts(&asked) {
        let statement = connection.listed(&REPLIES, part, add, |_| {});
        connection.fetch_while(statement, |row| data.take(reply(&row))).await?;
        if data.is_enough() {
            break;
        }
    }
    data.end()
}

/// The end of a run in the columns of `CLOSED`.
pub(crate) fn closed_run(row: &SqliteRow) -> Result<ClosedRun, StoreError> {
    Ok(ClosedRun {
        run: get(row, 0)?,
        workflow: get(row, 1)?,
        key: get(row, 2)?,
        parent: get(row, 3)?,
        status: get::<ClosedStatus>(row, 4)?,
        closed_at: get(row, 5)?,
        outcome: get(row, 6)?,
    })
}
