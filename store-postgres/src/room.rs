//! Checks whether the server allows as many connections as this process will open. It knows the server's limits, and
//! must not know those of a pooler.

use pgworkflows_core::store::{SessionsWanted, StoreError};
use sqlx::postgres::PgRow;

use crate::connect::describe_address;
use crate::shared::Shared;
use crate::values::get;

/// The limits of the server, the database and the role, and how many connections count towards each now. Superusers
/// have only the server's limit, including its reserved connections.
const ROOM: &str = "
    select s.server_limit, s.database_limit, s.role_limit,
           pg_catalog.count(*), pg_catalog.count(*) filter (where a.datid = s.database),
           pg_catalog.count(*) filter (where a.usesysid = s.role)
    from (
        select pg_catalog.current_setting('max_connections')::bigint - case when r.rolsuper then 0 else
                   pg_catalog.current_setting('superuser_reserved_connections')::bigint
                   + coalesce(pg_catalog.current_setting('reserved_connections', true)::bigint, 0) end as server_limit,
               case when not r.rolsuper and d.datconnlimit >= 0 then d.datconnlimit end as database_limit,
               case when not r.rolsuper and r.rolconnlimit >= 0 then r.rolconnlimit end as role_limit,
               d.oid as database, r.oid as role
        from pg_catalog.pg_roles r, pg_catalog.pg_database d
        where r.rolname = session_user and d.datname = pg_catalog.current_database()
    ) s
    cross join pg_catalog.pg_stat_activity a
    where a.datid is not null and a.usesysid is not null
    group by s.server_limit, s.database_limit, s.role_limit";

/// A limit, its name for people, and how many connections count towards it.
struct Limit {
    name: &'static str,
    connections: i64,
    used: i64,
}

/// Refuses a worker that can never get enough connections, and warns of one that may lack some under load.
pub(crate) async fn check(shared: &Shared, wanted: SessionsWanted) -> Result<(), StoreError> {
    if !shared.options.prepared_statements {
        // A pooler shares the connections of the server, and no client keeps one.
        return Ok(());
    }
    let row = &shared.fetch_one(shared.statements.query(ROOM)).await?;
    // In addition to the sessions: the notifier's connection, and at least one of the pool's.
    let notifier = i64::from(shared.notifier.is_on());
    let least = wanted.least as i64 + notifier + 1;
    let most = wanted.most as i64 + notifier + i64::from(shared.options.pool_size);
    for limit in limits(row)? {
        let Limit { name, connections, used } = limit;
        // The pool's connections count towards the limit, but belong to this process.
        let free = connections - (used - i64::from(shared.pool.size())).max(0);
        let address = describe_address(&shared.options.connect);
        if connections < least {
            return Err(StoreError::misconfigured(format!(
                "{address}: a worker needs at least {least} connections, and uses up to {most}, but {name} is \
                 {connections}: raise that limit, or give the worker fewer `processors`"
            )));
        }
        if connections < most || free < least {
            tracing::warn!(
                "{address}: a worker needs at least {least} connections and uses up to {most}, but {name} is \
                 {connections}, of which {free} are free: calls wait for connections. Raise that limit, or \
                 give the worker fewer `processors` and the store a smaller `pool_size`"
            );
        }
    }
    Ok(())
}

fn limits(row: &PgRow) -> Result<Vec<Limit>, StoreError> {
    let mut limits = vec![Limit {
        name: "`max_connections` of the server, without the connections that it reserves,",
        connections: get(row, 0)?,
        used: get(row, 3)?,
    }];
    for (name, column, used) in
        [("the database's connection limit", 1, 4), ("the role's connection limit", 2, 5)]
    {
        if let Some(connections) = get::<Option<i32>>(row, column)? {
            limits.push(Limit { name, connections: i64::from(connections), used: get(row, used)? });
        }
    }
    Ok(limits)
}
