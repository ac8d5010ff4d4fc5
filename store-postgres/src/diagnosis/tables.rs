//! Findings about the tables: rights, partitions, vacuum, and leases that no worker takes over. It must not know what a run does.

use std::time::Duration;

use pgworkflows_core::store::{DeadLease, StoreError};
use sqlx::Row;

use super::{Check, Finding, Patient};
use crate::values::get;

/// The rights that the user lacks: to read, and to write what a worker writes (`migrations/roles.sql`). A partition is reached by
/// its parent.
const RIGHTS: &str = "
    select pg_catalog.string_agg(distinct t.name, ', ') filter (where t.privilege = 'select'),
           pg_catalog.string_agg(distinct t.privilege || ' on ' || t.name, ', ') filter (where t.privilege <> 'select'),
           (select pg_catalog.count(*) from pg_catalog.pg_proc f
            join pg_catalog.pg_namespace n on n.oid = f.pronamespace
            where n.nspname = '@schema@' and not pg_catalog.has_function_privilege(f.oid, 'execute')),
           coalesce((select pg_catalog.has_schema_privilege(n.oid, 'usage') from pg_catalog.pg_namespace n
                     where n.nspname = '@schema@'), true),
           session_user::text,
           (select coalesce(pg_catalog.bool_and(pg_catalog.has_function_privilege(f.oid, 'execute')), false)
            from pg_catalog.pg_proc f
            join pg_catalog.pg_namespace n on n.oid = f.pronamespace
            where n.nspname = '@schema@' and f.proname = 'submit')
    from (
        select c.relname::text as name, p.privilege
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        cross join pg_catalog.unnest('{select,insert,update,delete}'::text[]) p (privilege)
        where n.nspname = '@schema@' and c.relkind in ('r', 'p') and not c.relispartition
          and c.relname <> 'migrations' and not pg_catalog.has_table_privilege(c.oid, p.privilege)
          and (p.privilege = 'select'
               or p.privilege = 'insert' and c.relname = any ('{
                   frames,closed_runs,links,replies,undelivered,chains,published,task_heads,appends,inbox,shard_needs,attributes,
                   builds,executors,leases,open_runs,suspects,tasks}')
               or p.privilege = 'update' and c.relname = any ('{
                   chains,published,task_heads,attributes,builds,executors,leases,open_runs,suspects,tasks,shards}')
               or p.privilege = 'delete' and c.relname = any ('{
                   appends,inbox,shard_needs,attributes,builds,executors,leases,open_runs,suspects,tasks}'))
    ) t";

/// So many of the rights that a user lacks are named.
const RIGHTS_SHOWN: usize = 5;

/// The partitions of the current span and of the next two that are not there, named as by `make_partition`.
const PARTITIONS: &str = "
    select t.number, t.name
    from (
        select l.number, p.parent || '_' || pg_catalog.to_char(
                   pg_catalog.to_timestamp(l.low / 1000) at time zone 'utc',
                   case when l.low % 86400000 = 0 then 'YYYYMMDD' else 'YYYYMMDD_HH24MISS' end) as name
        from (
            select n.number, s.now - s.now % s.width + n.number * s.width as low
            from (
                select partition_width_seconds * 1000 as width,
                       pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp()) * 1000)::bigint as now
                from @schema@.settings
            ) s
            cross join pg_catalog.generate_series(0, 2) n (number)
        ) l
        cross join pg_catalog.unnest('{frames,closed_runs,links,published,replies}'::text[]) p (parent)
    ) t
    where not exists (
        select from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = '@schema@' and c.relname = t.name and c.relispartition)
    order by t.number, t.name";

/// Tables with more dead rows than live ones, and those that are large for the rows that they have.
const VACUUM: &str = "
    select s.relname::text, s.n_live_tup, s.n_dead_tup,
           pg_catalog.pg_relation_size(s.relid) / 1048576,
           coalesce('autovacuum_enabled=false' = any (c.reloptions) or 'autovacuum_enabled=off' = any (c.reloptions), false)
    from pg_catalog.pg_stat_all_tables s
    join pg_catalog.pg_class c on c.oid = s.relid
    where s.schemaname = '@schema@'
      and (s.n_dead_tup > 50000 and s.n_dead_tup > s.n_live_tup
           or pg_catalog.pg_relation_size(s.relid) > 1073741824
              and pg_catalog.pg_relation_size(s.relid) > s.n_live_tup * 100000
           or 'autovacuum_enabled=false' = any (c.reloptions) or 'autovacuum_enabled=off' = any (c.reloptions))
    order by s.n_dead_tup desc, s.relname limit 5";

const AUTOVACUUM: &str = "
    select pg_catalog.current_setting('autovacuum') = 'on' and pg_catalog.current_setting('track_counts') = 'on'";

/// Leases that expired and still own shards: their process is dead, and no live worker of the queue has fenced them.
const LEASES: &str = "
    select l.queue, l.worker, pg_catalog.count(*), pg_catalog.count(n.shard),
           extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.max(l.expires_at))::bigint
    from @schema@.leases l
    join @schema@.shards s on s.lease = l.lease
    left join (select distinct shard from @schema@.shard_needs) n on n.shard = s.shard
    where not l.fenced and l.expires_at <= pg_catalog.clock_timestamp()
    group by l.queue, l.worker
    order by 4 desc, 1, 2 limit 5";

pub(super) async fn rights(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let row = patient.read_one(RIGHTS).await?;
    let (unread, unwritten): (Option<String>, Option<String>) = (get(&row, 0)?, get(&row, 1)?);
    let (functions, usage, user): (i64, bool, String) = (get(&row, 2)?, get(&row, 3)?, get(&row, 4)?);
    let is_client: bool = get(&row, 5)?;
    let schema = patient.options.schema.as_str();
    if !usage || unread.is_some() {
        let what = if usage { unread.unwrap_or_default() } else { format!("schema `{schema}`") };
        return Ok(Finding::wrong(
            Check::Rights,
            format!("user `{user}` may not read {what}"),
            "connect as the user that owns the schema, or have the owner grant the rights",
        ));
    }
    let lacks_functions = (functions > 0).then(|| format!("execute on {functions} functions"));
    let unwritten = unwritten.iter().flat_map(|rights| rights.split(", ")).map(str::to_owned);
    let mut lacks: Vec<String> = lacks_functions.into_iter().chain(unwritten).collect();
    if lacks.is_empty() {
        return Ok(Finding::ok(Check::Rights, format!("user `{user}` may read and write what it finds")));
    }
    let more = lacks.len().saturating_sub(RIGHTS_SHOWN);
    lacks.truncate(RIGHTS_SHOWN);
    lacks.extend((more > 0).then(|| format!("{more} more")));
    let (may, advice) = if is_client {
        (
            "start runs and send messages, and not execute them",
            "that is right for a client; a worker needs more: have the owner grant it a role of `pgworkflows migrate --print-roles`",
        )
    } else {
        (
            "look, and not work",
            "that is right for a reader; a client and a worker need more: have the owner grant them roles of `pgworkflows migrate \
             --print-roles`",
        )
    };
    let found = format!("user `{user}` may {may}: it lacks {}", lacks.join(", "));
    Ok(Finding::warning(Check::Rights, found, advice))
}

pub(super) async fn partitions(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let missing = patient.read(PARTITIONS).await?;
    let named = |number: fn(i32) -> bool| {
        let rows = missing.iter().filter(|row| number(row.get(0)));
        rows.map(|row| row.get::<String, _>(1)).collect::<Vec<_>>().join(", ")
    };
    let (now, soon) = (named(|number| number == 0), named(|number| number > 0));
    let advice = "a worker makes them at its next heartbeat: if it did not, look at its log, and at who holds locks on the \
                  parent table; `pgworkflows migrate` makes them, too";
    Ok(if !now.is_empty() {
        Finding::wrong(
            Check::Partitions,
            format!("the partitions for runs of now are missing: {now}"),
            advice,
        )
    } else if !soon.is_empty() {
        Finding::warning(
            Check::Partitions,
            format!("partitions for runs of soon are missing: {soon}"),
            advice,
        )
    } else {
        Finding::ok(Check::Partitions, "those of now and of the next two spans are there")
    })
}

pub(super) async fn vacuum(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let is_on: bool = get(&patient.read_one(AUTOVACUUM).await?, 0)?;
    if !is_on {
        return Ok(Finding::wrong(
            Check::Vacuum,
            "autovacuum is off, so tables grow with every run for ever",
            "set `autovacuum = on` and `track_counts = on` in postgresql.conf",
        ));
    }
    let mut found = Vec::new();
    for row in patient.read(VACUUM).await? {
        let (table, live, dead): (String, i64, i64) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
        let (megabytes, off): (i64, bool) = (get(&row, 3)?, get(&row, 4)?);
        let off = if off { ", and autovacuum is off for it" } else { "" };
        found.push(format!("`{table}` has {dead} dead rows beside {live} live ones in {megabytes} MB{off}"));
    }
    if found.is_empty() {
        return Ok(Finding::ok(Check::Vacuum, "autovacuum keeps up"));
    }
    let advice = "look for old transactions, which keep dead rows; run `vacuum (verbose)` on the table to see what keeps them; if \
                  autovacuum is too slow, raise `autovacuum_max_workers` or `autovacuum_vacuum_cost_limit`. A table that stays \
                  large is made small by `vacuum full`, while workers are stopped, or by pg_repack";
    Ok(Finding::warning(Check::Vacuum, found.join("; "), advice))
}

pub(super) async fn leases(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let rows = patient.read(LEASES).await?;
    let dead = rows.iter().map(|row| {
        let (shards, needed, seconds): (i64, i64, i64) = (get(row, 2)?, get(row, 3)?, get(row, 4)?);
        Ok(DeadLease {
            queue: get(row, 0)?,
            worker: get(row, 1)?,
            shards: shards.unsigned_abs(),
            needed: needed.unsigned_abs(),
            expired_for: Duration::from_secs(seconds.unsigned_abs()),
        })
    });
    Ok(Finding::dead_leases(Check::Leases, &dead.collect::<Result<Vec<_>, StoreError>>()?))
}
