//! The reads of people. No processor reads through here.

use std::collections::BTreeMap;

use async_trait::async_trait;
use pgworkflows_core::RunId;
use pgworkflows_core::id::{EventSeq, LeaseId, Name, Position};
use pgworkflows_core::store::{
    ActivityQueueInfo, Attributes, Build, ChainLink, FoundView, Frame, KeyPage, KeyedRun, LeaseDescription,
    Load, Loaded, OpenRow, Queue, QueueDescription, RunDescription, RunFilter, RunPage, ShardNeeds,
    StoreError, StoreQuery, Undelivered,
};
use sqlx::postgres::{PgBindIterExt, PgRow};

use crate::lists::list_statement;
use crate::recover::{load_query, loaded};
use crate::shared::Shared;
use crate::store::PostgresStore;
use crate::values::{
    Time, bytes, closed_status_number, get, open_state, open_state_number, optional_run_id, run_id, shard_id,
    timestamp, uuid,
};
use crate::watch::closed_run;
use crate::{lease, tasks};

/// One snapshot for both tables, so that a run which is just ending is in exactly one of them.
const DESCRIBE: &str = "
    select o.run_id, o.workflow, o.key, o.parent, o.state, o.wake_at, o.waiting_on, o.waits,
           null::smallint as status, null::timestamptz as closed_at, null::bytea as outcome,
           l.first_run, l.predecessor, l.number, null::uuid as current_run,
           array(select a.name from @schema@.attributes a where a.run_id = o.run_id order by a.name) as attribute_names,
           array(select a.value from @schema@.attributes a where a.run_id = o.run_id order by a.name) as attribute_values
    from @schema@.open_runs_shown o left join @schema@.links l on l.run_id = o.run_id
    where o.run_id = $1
    union all
    select c.run_id, c.workflow, c.key, c.parent, null, null, null, null, c.status, c.closed_at, c.outcome,
           l.first_run, l.predecessor, l.number,
           case when c.status in (4, 5) then @schema@.current_run(c.run_id) end,
           array(select a.name from @schema@.attributes a where a.run_id = c.run_id order by a.name),
           array(select a.value from @schema@.attributes a where a.run_id = c.run_id order by a.name)
    from @schema@.closed_runs c left join @schema@.links l on l.run_id = c.run_id
    where c.run_id = $1";

const UNDELIVERED: &str = "
    select u.run_id, u.body, u.at
    from pg_catalog.unnest($1::uuid[]) as r (run_id)
    cross join lateral (
        select * from @schema@.undelivered u where u.run_id = r.run_id order by u.number limit $2) u
    order by u.run_id, u.number";

/// One row for each live lease, or one without a lease.
const DESCRIBE_QUEUE: &str = "
    select q.shard_count, l.lease, l.worker, l.live_runs, l.renewed_at,
           array(select s.shard from @schema@.shards s where s.lease = l.lease order by s.shard),
           b.generation, b.workflows
    from @schema@.queues q
    left join @schema@.leases l
        on l.queue = q.name and not l.fenced and l.expires_at > pg_catalog.clock_timestamp()
    left join @schema@.builds b on b.queue = l.queue and b.build = l.build
    where q.name = $1
    order by l.claimed_at, l.lease";

const SHARD_NEEDS: &str = "
    select n.shard, pg_catalog.array_agg(n.workflow order by n.workflow collate pg_catalog.\"C\")
    from @schema@.shards s
    join @schema@.shard_needs n on n.shard = s.shard
    where s.queue = $1
    group by n.shard order by n.shard";

const QUEUES_OF: &str = "select q from @schema@.queues_of($1) q";

const FIND: &str = "
    select k.run_id from @schema@.run_keys k where k.workflow = $1 and k.key = $2";

const VIEW: &str = "
    select v.published, v.seq, v.count, v.position, v.at, v.body, v.run_id from @schema@.find_view($1, $2) v";

const KEYED_RUNS: &str = "
    select k.key, k.run_id, k.is_open from @schema@.keyed_runs($1, $2, $3, $4, $5) k";

/// The last one of so many runs with an attribute.
const HORIZON_BY_ATTRIBUTE: &str = "
    select a.run_id from @schema@.attributes a
    where a.name = $1 and a.value = $2 and a.run_id < $3
    order by a.run_id desc offset $4 limit 1";

/// The last one of so many rows of each table, by its primary key alone.
const HORIZON: &str = "
    select r.run_id from (
        (select o.run_id from @schema@.open_runs o where $1 and o.run_id < $3
         order by o.run_id desc offset $4 limit 1)
        union all
        (select c.run_id from @schema@.closed_runs c where $2 and c.run_id < $3
         order by c.run_id desc offset $4 limit 1)
    ) r order by r.run_id desc limit 1";

fn lease_description(row: &PgRow) -> Result<Option<LeaseDescription>, StoreError> {
    let Some(lease) = get::<Option<i64>>(row, 1)? else { return Ok(None) };
    Ok(Some(LeaseDescription {
        lease: LeaseId::new(lease.cast_unsigned()),
        worker: get(row, 2)?,
        build: Build {
            generation: get::<i64>(row, 6)?.cast_unsigned(),
            workflows: get::<Vec<String>>(row, 7)?.into_iter().map(Name::from).collect(),
        },
        shards: get::<Vec<i16>>(row, 5)?.into_iter().map(shard_id).collect::<Result<_, _>>()?,
        live_runs: get::<i32>(row, 3)?.cast_unsigned(),
        renewed_at: timestamp(row, 4)?,
    }))
}

fn found_view(row: &PgRow) -> Result<FoundView, StoreError> {
    let frame = Frame {
        run: run_id(row, 6)?,
        seq: EventSeq::new(get::<i32>(row, 1)?.cast_unsigned()),
        count: get::<i32>(row, 2)?.cast_unsigned(),
        position: Position::new(get::<i64>(row, 3)?.cast_unsigned()),
        at: timestamp(row, 4)?,
        body: bytes(row, 5)?,
    };
    Ok(FoundView { seq: EventSeq::new(get::<i32>(row, 0)?.cast_unsigned()), frame })
}

fn shard_needs(row: &PgRow) -> Result<ShardNeeds, StoreError> {
    let workflows = get::<Vec<String>>(row, 1)?.into_iter().map(Name::from).collect();
    Ok(ShardNeeds { shard: shard_id(get(row, 0)?)?, workflows })
}

#[async_trait]
impl StoreQuery for PostgresStore {
    async fn describe(&self, run: RunId) -> Result<Option<RunDescription>, StoreError> {
        let query = self.shared.statements.query(DESCRIBE).bind(uuid(run));
        let rows = self.shared.fetch(query).await?;
        Ok(descriptions(&self.shared, &rows).await?.pop())
    }

    async fn describe_queue(&self, name: &str) -> Result<Option<QueueDescription>, StoreError> {
        let query = self.shared.statements.query(DESCRIBE_QUEUE).bind(name.to_owned());
        let rows = self.shared.fetch(query).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let shard_count = u16::try_from(get::<i32>(first, 0)?).unwrap_or(u16::MAX);
        let leases =
            rows.iter().filter_map(|row| lease_description(row).transpose()).collect::<Result<_, _>>()?;
        let query = self.shared.statements.query(SHARD_NEEDS).bind(name.to_owned());
        let needs = self.shared.fetch(query).await?;
        let needs = needs.iter().map(shard_needs).collect::<Result<_, _>>()?;
        Ok(Some(QueueDescription { name: name.to_owned(), shard_count, leases, needs }))
    }

    async fn queues(&self) -> Result<Vec<Queue>, StoreError> {
        lease::queues(&self.shared).await
    }

    async fn queues_of(&self, workflow: &str) -> Result<Vec<String>, StoreError> {
        let query = self.shared.statements.query(QUEUES_OF).bind(workflow.to_owned());
        self.shared.fetch(query).await?.iter().map(|row| get(row, 0)).collect()
    }

    async fn find(&self, workflow: &str, key: &str) -> Result<Option<RunId>, StoreError> {
        let query = self.shared.statements.query(FIND).bind(workflow.to_owned()).bind(key.to_owned());
        let rows = self.shared.fetch(query).await?;
        rows.first().map(|row| run_id(row, 0)).transpose()
    }

    async fn keyed_runs(&self, page: &KeyPage) -> Result<Vec<KeyedRun>, StoreError> {
        // A key has 255 bytes at most: no key with the prefix comes after these 256 bytes of the last character there is.
        let end = format!("{}{}", page.prefix, "\u{10FFFF}".repeat(64));
        let query = self
            .shared
            .statements
            .query(KEYED_RUNS)
            .bind(page.workflow.to_string())
            .bind(page.prefix.clone())
            .bind(end)
            .bind(page.after.clone().unwrap_or_default())
            .bind(i64::from(page.limit.max(1)));
        let rows = self.shared.fetch(query).await?;
        let keyed = |row| Ok(KeyedRun { key: get(row, 0)?, run: run_id(row, 1)?, is_open: get(row, 2)? });
        rows.iter().map(keyed).collect()
    }

    async fn horizon(&self, filter: &RunFilter, page: &RunPage) -> Result<Option<RunId>, StoreError> {
        let statements = &self.shared.statements;
        let query = match filter.attributes.iter().next() {
            Some((name, value)) => {
                statements.query(HORIZON_BY_ATTRIBUTE).bind(name.to_string()).bind(value.to_owned())
            }
            None => statements.query(HORIZON).bind(filter.selects_open()).bind(filter.selects_closed()),
        };
        let query = query
            .bind(uuid(page.before.unwrap_or(RunId::from_u128(u128::MAX))))
            .bind(i64::from(page.limit.max(1)) - 1);
        self.shared.fetch(query).await?.first().map(|row| run_id(row, 0)).transpose()
    }

    async fn list(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<RunDescription>, StoreError> {
        let query = self
            .shared
            .statements
            .query(list_statement(filter))
            .bind(filter.selects_open())
            .bind(filter.selects_closed())
            .bind(uuid(page.before.unwrap_or(RunId::from_u128(u128::MAX))))
            .bind(filter.workflow.clone())
            .bind(filter.state.map(open_state_number))
            .bind(filter.status.map(closed_status_number))
            .bind(i64::from(page.limit.max(1)));
        let mut attributes =
            filter.attributes.iter().map(|(name, value)| (name.to_string(), value.to_owned()));
        let query = match (filter.parent, filter.since) {
            (parent, since) if !filter.attributes.is_empty() => {
                let since = since.unwrap_or(RunId::from_u128(0));
                let (name, value) = attributes.next().unwrap_or_default();
                let (names, values): (Vec<String>, Vec<String>) = attributes.unzip();
                query.bind(parent.map(uuid)).bind(uuid(since)).bind(name).bind(value).bind(names).bind(values)
            }
            (parent, Some(since)) => query.bind(parent.map(uuid)).bind(uuid(since)),
            (Some(parent), None) => query.bind(uuid(parent)),
            (None, None) => query,
        };
        let rows = self.shared.fetch(query).await?;
        descriptions(&self.shared, &rows).await
    }

    async fn load(&self, load: &Load) -> Result<Loaded, StoreError> {
        let query = load_query(&self.shared.statements, load);
        loaded(&self.shared.fetch(query).await?)
    }

    async fn view(&self, run: RunId, view: &str) -> Result<Option<FoundView>, StoreError> {
        let query = self.shared.statements.query(VIEW).bind(uuid(run)).bind(view.to_owned());
        self.shared.fetch(query).await?.first().map(found_view).transpose()
    }

    async fn activity_queues(&self) -> Result<Vec<ActivityQueueInfo>, StoreError> {
        tasks::activity_queues(&self.shared).await
    }
}

/// The rows as descriptions, with their undelivered messages.
async fn descriptions(shared: &Shared, rows: &[PgRow]) -> Result<Vec<RunDescription>, StoreError> {
    let mut descriptions = rows.iter().map(description).collect::<Result<Vec<_>, _>>()?;
    if descriptions.is_empty() {
        return Ok(descriptions);
    }
    let runs = descriptions.iter().map(|description| uuid(description.run)).bind_iter();
    let query = shared.statements.query(UNDELIVERED).bind(runs).bind(Undelivered::SHOWN_MAX as i64);
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
        parent: optional_run_id(row, "parent")?,
        attributes: attributes(row)?,
        open: open_row(row)?,
        closed: closed_run(row)?,
        link: link(row)?,
        current: optional_run_id(row, "current_run")?,
        undelivered: Vec::new(),
    })
}

fn attributes(row: &PgRow) -> Result<Attributes, StoreError> {
    let (names, values): (Vec<String>, Vec<String>) =
        (get(row, "attribute_names")?, get(row, "attribute_values")?);
    Ok(names.into_iter().map(Name::from).zip(values).collect())
}

/// The place in its chain of a run that continues another.
fn link(row: &PgRow) -> Result<Option<ChainLink>, StoreError> {
    let Some(number) = get::<Option<i32>>(row, "number")? else { return Ok(None) };
    Ok(Some(ChainLink {
        first: run_id(row, "first_run")?,
        predecessor: run_id(row, "predecessor")?,
        number: number.cast_unsigned(),
    }))
}

fn open_row(row: &PgRow) -> Result<Option<OpenRow>, StoreError> {
    let Some(state) = get::<Option<i16>>(row, "state")? else { return Ok(None) };
    Ok(Some(OpenRow {
        state: open_state(state),
        wake_at: get::<Option<Time>>(row, "wake_at")?.map(|Time(at)| at),
        waiting_on: get(row, "waiting_on")?,
        waits: get(row, "waits")?,
    }))
}
