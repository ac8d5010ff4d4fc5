//! Whether the server lets this process have as many connections as it will open. It knows what the server is set to,
//! and nothing of a pooler's own limits.

use pgworkflows_core::store::{SessionsWanted, StoreError};
use sqlx::postgres::PgRow;

use crate::connect::place;
use crate::error::store_error;
use crate::store::Shared;
use crate::values::get;

/// The limits of the server, the database and the role, and how many connections count towards each at the moment. To
/// superusers only the server's applies, whose reserve is theirs.
pub(crate) const ROOM: &str = "
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

/// A limit, whose it is, and how many connections count towards it.
struct Limit {
    whose: &'static str,
    connections: i64,
    used: i64,
}

/// Refuses a worker for which there can never be room, and warns of one that will miss some under load.
pub(crate) async fn check(shared: &Shared, wanted: SessionsWanted) -> Result<(), StoreError> {
    if !shared.prepared_statements {
        // A pooler shares out the connections of the server, and nobody holds one.
        return Ok(());
    }
    let rows = shared.fetch(shared.statements.room.query()).await?;
    let row = rows.first().ok_or_else(|| store_error(sqlx::Error::RowNotFound))?;
    // Beside the sessions: the bell's connection, and one to all of the pool's.
    let bell = i64::from(shared.bell.channel().is_some());
    let (least, most) =
        (wanted.least as i64 + bell + 1, wanted.most as i64 + bell + i64::from(shared.pool_size));
    for limit in limits(row)? {
        let Limit { whose, connections, used } = limit;
        // This process has some already.
        let free = connections - (used - i64::from(shared.pool_connections())).max(0);
        let place = place(&shared.connect);
        if connections < least {
            return Err(StoreError::misconfigured(format!(
                "{place}: a worker needs {least} connections at least, and uses up to {most}, but {whose} is \
                 {connections}: raise that limit, or give the worker fewer `processors`"
            )));
        }
        if connections < most || free < least {
            tracing::warn!(
                "{place}: a worker needs {least} connections at least and uses up to {most}, but {whose} is \
                 {connections}, of which {free} are free: what cannot be had is waited for. Raise that limit, or \
                 give the worker fewer `processors` and the store a smaller `pool_size`"
            );
        }
    }
    Ok(())
}

fn limits(row: &PgRow) -> Result<Vec<Limit>, StoreError> {
    let mut limits = vec![Limit {
        whose: "`max_connections` of the server, without those that it reserves,",
        connections: get(row, 0)?,
        used: get(row, 3)?,
    }];
    for (whose, column, used) in
        [("the database's connection limit", 1, 4), ("the role's connection limit", 2, 5)]
    {
        if let Some(connections) = get::<Option<i32>>(row, column)? {
            limits.push(Limit { whose, connections: i64::from(connections), used: get(row, used)? });
        }
    }
    Ok(limits)
}
