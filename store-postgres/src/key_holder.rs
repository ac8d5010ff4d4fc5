//! Finds the transaction that holds the key of a start, to explain a wait that timed out. It must not know what a start
//! asks for.

use std::time::Duration;

use pgworkflows_core::store::{NewRun, StoreError, Submission};
use sqlx::postgres::PgRow;

use crate::error::store_error;
use crate::shared::Shared;
use crate::values::get;

/// The oldest open transaction that has written keys and does not wait for a lock. The server does not show which keys
/// a transaction has written, but one that began after the wait (`$1` microseconds ago) cannot be the holder. Columns
/// that the role may not see are null.
const KEY_HOLDER: &str = "
    select l.pid, a.application_name, a.usename::text,
           pg_catalog.to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
           extract(epoch from pg_catalog.clock_timestamp() - a.xact_start)::bigint, p.gid
    from pg_catalog.pg_locks l
    left join pg_catalog.pg_stat_activity a on a.pid = l.pid
    left join pg_catalog.pg_locks t
           on l.pid is null and t.pid is null and t.locktype = 'transactionid'
          and t.virtualtransaction = l.virtualtransaction
    left join pg_catalog.pg_prepared_xacts p on p.transaction = t.transactionid
    where l.locktype = 'relation' and l.relation = '@schema@.run_keys'::pg_catalog.regclass
      and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
      and l.mode = 'RowExclusiveLock' and l.granted
      and not exists (select from pg_catalog.pg_locks w where w.pid = l.pid and not w.granted)
      and coalesce(a.xact_start <= pg_catalog.clock_timestamp() - $1::bigint * interval '1 microsecond', true)
    order by coalesce(a.xact_start, p.prepared)
    limit 1";

/// The error for starts that waited `waited` for their keys. It names the holder, if one is found; otherwise it is the
/// server's own error.
pub(crate) async fn held_error(
    shared: &Shared,
    submissions: &[Submission],
    waited: Duration,
    error: sqlx::Error,
) -> StoreError {
    let Some(keys) = keys(submissions) else { return store_error(error) };
    let micros = i64::try_from(waited.as_micros()).unwrap_or(i64::MAX);
    let query = shared.statements.query(KEY_HOLDER).bind(micros);
    match shared.fetch(query).await.map(|rows| rows.first().map(holder)) {
        Ok(Some(Ok(holder))) => StoreError::held(format!(
            "{keys} is held by an open transaction: {holder}; end that transaction, and start again"
        )),
        Ok(Some(Err(_)) | None) | Err(_) => store_error(error),
    }
}

/// Describes the keys of the starts.
fn keys(submissions: &[Submission]) -> Option<String> {
    let opens = submissions.iter().filter_map(|submission| submission.opens.as_ref());
    let named = |run: &NewRun| Some(format!("key `{}` of workflow `{}`", run.key.as_ref()?, run.workflow));
    let mut keys = opens.filter_map(named);
    let first = keys.next()?;
    match keys.count() {
        0 => Some(first),
        others => Some(format!("{first}, or one of {others} others,")),
    }
}

/// Describes a transaction, as far as the role may see it.
fn holder(row: &PgRow) -> Result<String, StoreError> {
    let (pid, prepared): (Option<i32>, Option<String>) = (get(row, 0)?, get(row, "gid")?);
    let mut words = match (pid, prepared) {
        (_, Some(name)) => format!("the prepared transaction `{name}`"),
        (Some(pid), None) => format!("process {pid} of the server"),
        (None, None) => "a prepared transaction".to_owned(),
    };
    for (what, column) in [("application", 1), ("user", 2)] {
        if let Some(name) = get::<Option<String>>(row, column)?.filter(|name| !name.is_empty()) {
            words.push_str(&format!(", {what} `{name}`"));
        }
    }
    if let (Some(since), Some(seconds)) = (get::<Option<String>>(row, 3)?, get::<Option<i64>>(row, 4)?) {
        words.push_str(&format!(", since {since} UTC, {seconds} s ago"));
    }
    Ok(words)
}
