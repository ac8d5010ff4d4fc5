//! The reads of people. No processor reads through here.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::id::{Name, ShardId};
use pgworkflows_core::store::{
    ActivityQueueInfo, Attributes, ChainLink, ClosedRun, FoundView, Frame, KeyPage, KeyedRun,
    LeaseDescription, Load, Loaded, OpenRow, OpenState, Queue, QueueDescription, RunDescription, RunFilter,
    RunPage, ShardNeeds, StoreError, StoreQuery, Undelivered,
};
use sqlx::sqlite::SqliteRow;

use crate::chain::current_run;
use crate::connection::{Connection, Listed, sql};
use crate::fleet::Fleet;
use crate::store::SqliteStore;
use crate::transaction::now;
use crate::values::{RUN_MAX, get};
use crate::{attributes, recover, tasks};

/// The open runs. A pending one that has begun is busy, and what its row says does not apply any more.
macro_rules! open_runs {
    () => {
        "select o.run_id, o.workflow, o.key, o.parent, null as status, null as closed_at, null as outcome,
                iif(o.begun, 1, o.state) as state, iif(o.begun, null, o.wake_at) as wake_at,
                iif(o.begun, null, o.waiting_on) as waiting_on, iif(o.begun, null, o.waits) as waits
         from (select p.*, p.state = 0 and exists (select 1 from frames f where f.run_id = p.run_id) as begun
               from open_runs p) o"
    };
}

macro_rules! closed_runs {
    () => {
        "select c.run_id, c.workflow, c.key, c.parent, c.status, c.closed_at, c.outcome, null as state, null as wake_at,
                null as waiting_on, null as waits
         from closed_runs c"
    };
}

/// The place in its chain of each run of `r`, and the chain's current run if the run was continued.
macro_rules! described {
    ($runs:expr) => {
        concat!(
            "select r.*, l.first_run, l.predecessor, l.number, case when r.status in (4, 5) then ",
            current_run!("r.run_id"),
            " end from (",
            $runs,
            ") r left join links l on l.run_id = r.run_id"
        )
    };
}

const DESCRIBE: &str = described!(concat!(
    open_runs!(),
    " where o.run_id = ?1 union all ",
    closed_runs!(),
    " where c.run_id = ?1"
));

/// The last one of so many rows of each table, by its primary key alone.
const HORIZON: &str = "
    select run_id from (
        select * from (select o.run_id from open_runs o where ?1 and o.run_id < ?3
                       order by o.run_id desc limit 1 offset ?4)
        union all
        select * from (select c.run_id from closed_runs c where ?2 and c.run_id < ?3
                       order by c.run_id desc limit 1 offset ?4))
    order by run_id desc limit 1";

/// Each half returns up to the limit, by an index in descending order.
macro_rules! list {
    ($open:literal, $closed:literal) => {
        concat!(
            described!(concat!(
                "select * from (select * from (",
                open_runs!(),
                " where ?1 and o.run_id < ?3 and o.run_id >= ?8 and (?4 is null or o.workflow = ?4)",
                $open,
                ") where ?5 is null or state = ?5 order by run_id desc limit ?7)
                union all select * from (",
                closed_runs!(),
                " where ?2 and c.run_id < ?3 and c.run_id >= ?8 and (?4 is null or c.workflow = ?4)
                    and (?6 is null or c.status = ?6)",
                $closed,
                " order by c.run_id desc limit ?7)"
            )),
            " order by r.run_id desc limit ?7"
        )
    };
}

const LIST: &str = list!("", "");

/// The runs that a run started, by an index of their own.
const LIST_CHILDREN: &str = list!(" and o.parent = ?9", " and c.parent = ?9");

/// These runs, whatever became of them.
const OF_RUNS: Listed = Listed {
    text: concat!(
        "with t (run) as (values {}) ",
        described!(concat!(
            open_runs!(),
            " where o.run_id in (select run from t) union all ",
            closed_runs!(),
            " where c.run_id in (select run from t)"
        )),
        " order by r.run_id desc"
    ),
    width: 1,
};

const UNDELIVERED: Listed = Listed {
    text: "select u.run_id, u.body, u.at from (values {}) as t
           cross join undelivered u on u.run_id = t.column1 and u.number <= coalesce(
               (select v.number from undelivered v where v.run_id = t.column1 order by v.number limit 1 offset 99),
               9223372036854775807)
           order by u.run_id, u.number",
    width: 1,
};

const _: () = assert!(Undelivered::SHOWN_MAX == 100);

/// How many runs with an attribute are looked at at least, when a page of them is read: all may be others than were asked for.
const CANDIDATES_MIN: u32 = 256;

const QUEUES: &str = "select name, first_shard, shard_count from queues order by name";

const QUEUE: &str = "select shard_count from queues where name = ?";

const LEASE_SHARDS: &str = "select shard from shards where lease = ? order by shard";

const LEASE_DETAILS: &str = "select live_runs, renewed_at from leases where lease = ?";

const SHARD_NEEDS: &str = "
    select n.shard, n.workflow from shards s join shard_needs n on n.shard = s.shard
    where s.queue = ? order by n.shard, n.workflow";

const KNOWN: &str = "select queue from known_workflows where workflow = ? order by claimed_at desc, queue";

const FIND: &str = "select run_id from run_keys where workflow = ? and key = ?";

macro_rules! keyed_runs {
    ($from:literal) => {
        concat!(
            "select k.key, k.run_id, exists (select 1 from open_runs o where o.run_id = ",
            current_run!("k.run_id"),
            ") from run_keys k where k.workflow = ? and k.key ",
            $from,
            " ? order by k.key limit ?"
        )
    };
}

/// The frame with the newest value of a view of a chain's current run: two probes, however long the history is.
const VIEW: &str = concat!(
    "with r (run) as (select ",
    current_run!("?1"),
    ")
    select p.seq, r.run, f.seq, f.count, f.position, f.at, f.body
    from r join published p on p.run_id = r.run and p.name = ?2
    join frames f on f.run_id = r.run
     and f.seq = (select max(g.seq) from frames g where g.run_id = r.run and g.seq <= p.seq)"
);

#[async_trait]
impl StoreQuery for SqliteStore {
    async fn describe(&self, run: RunId) -> Result<Option<RunDescription>, StoreError> {
        let mut reader = self.0.readers.take().await?;
        let rows = reader.fetch(sql(DESCRIBE).bind(run)).await?;
        Ok(descriptions(&mut reader, &rows).await?.pop())
    }

    async fn describe_queue(&self, name: &str) -> Result<Option<QueueDescription>, StoreError> {
        let mut reader = self.0.readers.take().await?;
        let Some(shard_count) = reader.fetch_value(sql(QUEUE).bind(name)).await? else { return Ok(None) };
        let live = Fleet::load(&mut reader, now(), name).await?.live;
        let mut leases = Vec::with_capacity(live.len());
        for lease in live {
            let Some(row) = reader.fetch_first(sql(LEASE_DETAILS).bind(lease.id)).await? else { continue };
            let shards = reader.fetch(sql(LEASE_SHARDS).bind(lease.id)).await?;
            leases.push(LeaseDescription {
                lease: lease.id,
                worker: lease.worker,
                build: lease.build,
                shards: shards.iter().map(|row| get(row, 0)).collect::<Result<_, _>>()?,
                live_runs: get(&row, 0)?,
                renewed_at: get(&row, 1)?,
            });
        }
        let mut needs: Vec<ShardNeeds> = Vec::new();
        for row in reader.fetch(sql(SHARD_NEEDS).bind(name)).await? {
            let (shard, workflow): (ShardId, Name) = (get(&row, 0)?, get(&row, 1)?);
            match needs.last_mut() {
                Some(last) if last.shard == shard => last.workflows.push(workflow),
                Some(_) | None => needs.push(ShardNeeds { shard, workflows: vec![workflow] }),
            }
        }
        Ok(Some(QueueDescription { name: name.to_owned(), shard_count, leases, needs }))
    }

    async fn queues(&self) -> Result<Vec<Queue>, StoreError> {
        let mut reader = self.0.readers.take().await?;
        let (rows, now) = (reader.fetch(sql(QUEUES)).await?, now());
        let queue =
            |row| Ok(Queue { name: get(row, 0)?, first_shard: get(row, 1)?, shard_count: get(row, 2)?, now });
        rows.iter().map(queue).collect()
    }

    async fn queues_of(&self, workflow: &str) -> Result<Vec<String>, StoreError> {
        let mut reader = self.0.readers.take().await?;
        let known = reader.fetch(sql(KNOWN).bind(workflow)).await?;
        let known: Vec<String> = known.iter().map(|row| get(row, 0)).collect::<Result<_, _>>()?;
        let mut live = BTreeSet::new();
        for queue in &known {
            let fleet = Fleet::load(&mut reader, now(), queue).await?;
            if fleet.live.iter().any(|lease| lease.build.workflows.contains(workflow)) {
                live.insert(queue.clone());
            }
        }
        if live.is_empty() { Ok(known.into_iter().take(1).collect()) } else { Ok(live.into_iter().collect()) }
    }

    async fn find(&self, workflow: &str, key: &str) -> Result<Option<RunId>, StoreError> {
        let mut reader = self.0.readers.take().await?;
        reader.fetch_value(sql(FIND).bind(workflow).bind(key)).await
    }

    async fn keyed_runs(&self, page: &KeyPage) -> Result<Vec<KeyedRun>, StoreError> {
        let mut reader = self.0.readers.take().await?;
        let prefix = page.prefix.as_str();
        let (select, from) = match page.after.as_deref().filter(|after| *after >= prefix) {
            Some(after) => (keyed_runs!(">"), after),
            None => (keyed_runs!(">="), prefix),
        };
        let select = sql(select).bind(page.workflow.as_str()).bind(from).bind(i64::from(page.limit.max(1)));
        let rows = reader.fetch(select).await?;
        let keyed = |row| Ok(KeyedRun { key: get(row, 0)?, run: get(row, 1)?, is_open: get(row, 2)? });
        let runs = rows.iter().map(keyed).collect::<Result<Vec<_>, StoreError>>()?;
        // Keys are in the order of their bytes, so those with the prefix come first.
        Ok(runs.into_iter().take_while(|run| run.key.starts_with(&page.prefix)).collect())
    }

    async fn horizon(&self, filter: &RunFilter, page: &RunPage) -> Result<Option<RunId>, StoreError> {
        let mut reader = self.0.readers.take().await?;
        if !filter.attributes.is_empty() {
            let (last, page) = (page.limit.max(1) - 1, RunPage { limit: 1, ..page.clone() });
            return Ok(attributes::runs_with(&mut reader, filter, &page, last).await?.pop());
        }
        let select = sql(HORIZON)
            .bind(filter.selects_open())
            .bind(filter.selects_closed())
            .bind(page.before.unwrap_or(RUN_MAX))
            .bind(i64::from(page.limit.max(1)) - 1);
        reader.fetch_first(select).await?.map(|row| get(&row, 0)).transpose()
    }

    async fn list(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<RunDescription>, StoreError> {
        let mut reader = self.0.readers.take().await?;
        if !filter.attributes.is_empty() {
            return list_by_attribute(&mut reader, filter, page).await;
        }
        let select = sql(if filter.parent.is_some() { LIST_CHILDREN } else { LIST })
            .bind(filter.selects_open())
            .bind(filter.selects_closed())
            .bind(page.before.unwrap_or(RUN_MAX))
            .bind(filter.workflow.as_deref())
            .bind(filter.state)
            .bind(filter.status)
            .bind(i64::from(page.limit.max(1)))
            .bind(filter.since.unwrap_or(RunId::from_u128(0)));
        let select = match filter.parent {
            Some(parent) => select.bind(parent),
            None => select,
        };
        let rows = reader.fetch(select).await?;
        descriptions(&mut reader, &rows).await
    }

    async fn load(&self, load: &Load) -> Result<Loaded, StoreError> {
        recover::load(&mut *self.0.readers.take().await?, load).await
    }

    async fn view(&self, run: RunId, view: &str) -> Result<Option<FoundView>, StoreError> {
        let mut reader = self.0.readers.take().await?;
        let row = reader.fetch_first(sql(VIEW).bind(run).bind(view)).await?;
        row.as_ref().map(found_view).transpose()
    }

    async fn activity_queues(&self) -> Result<Vec<ActivityQueueInfo>, StoreError> {
        tasks::activity_queues(&mut *self.0.readers.take().await?).await
    }
}

/// Lists runs with attributes: those that the index of the first one finds are described, and compared with the rest of the filter,
/// until the page is full.
async fn list_by_attribute(
    reader: &mut Connection,
    filter: &RunFilter,
    page: &RunPage,
) -> Result<Vec<RunDescription>, StoreError> {
    let limit = page.limit.max(1);
    let (mut listed, mut next) = (Vec::new(), RunPage { limit: limit.max(CANDIDATES_MIN), ..page.clone() });
    loop {
        let candidates = attributes::runs_with(reader, filter, &next, 0).await?;
        let rows = reader.fetch_all(&OF_RUNS, &candidates, |a, run| _ = a.add(*run), |_| {}).await?;
        let found = descriptions(reader, &rows).await?;
        listed.extend(found.into_iter().filter(|found| matches(filter, found)));
        next.before = candidates.last().copied();
        if listed.len() >= limit as usize || candidates.len() < next.limit as usize {
            listed.truncate(limit as usize);
            return Ok(listed);
        }
    }
}

/// Whether a run is one of a list.
fn matches(filter: &RunFilter, found: &RunDescription) -> bool {
    let RunFilter { workflow, parent, attributes, open: _, state, status, since: _ } = filter;
    let row = match (&found.open, &found.closed) {
        (Some(open), _) => filter.selects_open() && state.is_none_or(|state| state == open.state),
        (None, Some(closed)) => {
            filter.selects_closed() && status.is_none_or(|status| status == closed.status)
        }
        (None, None) => false,
    };
    row && workflow.as_ref().is_none_or(|workflow| *workflow == found.workflow)
        && parent.is_none_or(|parent| found.parent == Some(parent))
        && attributes.iter().all(|(name, value)| found.attributes.has(name, value))
}

fn found_view(row: &SqliteRow) -> Result<FoundView, StoreError> {
    let frame = Frame {
        run: get(row, 1)?,
        seq: get(row, 2)?,
        count: get(row, 3)?,
        position: get(row, 4)?,
        at: get(row, 5)?,
        body: get(row, 6)?,
    };
    Ok(FoundView { seq: get(row, 0)?, frame })
}

/// The rows as descriptions, with their attributes and their undelivered messages.
async fn descriptions(
    connection: &mut Connection,
    rows: &[SqliteRow],
) -> Result<Vec<RunDescription>, StoreError> {
    let mut descriptions = rows.iter().map(description).collect::<Result<Vec<_>, _>>()?;
    let runs: Vec<RunId> = descriptions.iter().map(|description| description.run).collect();
    let mut undelivered: BTreeMap<RunId, Vec<Undelivered>> = BTreeMap::new();
    for row in connection.fetch_all(&UNDELIVERED, &runs, |a, run| _ = a.add(*run), |_| {}).await? {
        let message = Undelivered { body: get::<Bytes>(&row, 1)?, at: get(&row, 2)? };
        undelivered.entry(get(&row, 0)?).or_default().push(message);
    }
    let mut attributes = attributes::of_runs(connection, &runs).await?;
    for description in &mut descriptions {
        description.attributes = attributes.remove(&description.run).unwrap_or_default();
        description.undelivered = undelivered.remove(&description.run).unwrap_or_default();
    }
    Ok(descriptions)
}

fn description(row: &SqliteRow) -> Result<RunDescription, StoreError> {
    let (run, workflow, key): (RunId, String, Option<String>) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
    let parent = get(row, 3)?;
    let closed = match get(row, 4)? {
        Some(status) => Some(ClosedRun {
            run,
            workflow: workflow.as_str().into(),
            key: key.clone(),
            parent,
            status,
            closed_at: get(row, 5)?,
            outcome: get(row, 6)?,
        }),
        None => None,
    };
    let open = match get::<Option<OpenState>>(row, 7)? {
        Some(state) => {
            Some(OpenRow { state, wake_at: get(row, 8)?, waiting_on: get(row, 9)?, waits: get(row, 10)? })
        }
        None => None,
    };
    let link = match get(row, 13)? {
        Some(number) => Some(ChainLink { first: get(row, 11)?, predecessor: get(row, 12)?, number }),
        None => None,
    };
    Ok(RunDescription {
        run,
        workflow,
        key,
        parent,
        attributes: Attributes::default(),
        open,
        closed,
        link,
        current: get(row, 14)?,
        undelivered: Vec::new(),
    })
}
