//! Checks the settings with which the server, the database and the role begin every session, before any work has begun.
//! None is changed here, because a pooler may share the connection. It must not know what a call does.

use std::time::Duration;

use pgworkflows_core::store::StoreError;
use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row};

use crate::error::store_error;
use crate::options::{Options, milliseconds};

/// How long a call may work, at least, once it has its locks.
const WORK_TIME_MIN: Duration = Duration::from_secs(1);

/// What a transaction is by default, and where.
const KIND: &str = "
    select pg_catalog.current_setting('transaction_isolation'),
           pg_catalog.current_setting('transaction_read_only'), pg_catalog.current_database()::text";

/// The limits that are on, in milliseconds. PostgreSQL has `transaction_timeout` since version 17.
const TIME_LIMITS: &str = "
    select s.name, s.setting::bigint from pg_catalog.pg_settings s
    where s.name in ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')
      and s.setting <> '0'
    order by s.name";

/// Refuses settings with which calls would fail again and again. The SQL functions check the isolation level at each
/// call too, because a setting may be changed later.
pub(crate) async fn check(connection: &mut PgConnection, options: &Options) -> Result<(), StoreError> {
    let row = connection.fetch_one(sqlx::raw_sql(KIND)).await.map_err(store_error)?;
    let (isolation, read_only, database): (String, String, String) = (row.get(0), row.get(1), row.get(2));
    let whose = format!("of user `{}` in database `{database}`", options.connect.get_username());
    check_kind(&isolation, &read_only, &whose)?;

    let rows = connection.fetch_all(sqlx::raw_sql(TIME_LIMITS)).await.map_err(store_error)?;
    for row in rows {
        let (setting, millis): (String, i64) = (row.get(0), row.get(1));
        check_time_limit(&setting, Duration::from_millis(millis.unsigned_abs()), &whose, options)?;
    }
    Ok(())
}

fn check_kind(isolation: &str, read_only: &str, whose: &str) -> Result<(), StoreError> {
    let (default, needed, setting) = match (isolation, read_only) {
        ("read committed", "off") => return Ok(()),
        ("read committed", _) => ("read-only", "to write", "default_transaction_read_only = off"),
        (isolation, _) => (isolation, "`read committed`", "default_transaction_isolation = 'read committed'"),
    };
    Err(StoreError::misconfigured(format!(
        "transactions {whose} are `{default}` by default, but the log needs {needed}: \
         alter the role or the database to {setting}"
    )))
}

fn check_time_limit(
    setting: &str,
    limit: Duration,
    whose: &str,
    options: &Options,
) -> Result<(), StoreError> {
    let (needed, why, other) = match setting {
        // Only a call that is a transaction of several statements has pauses.
        "idle_in_transaction_session_timeout" if options.prepared_statements => return Ok(()),
        "idle_in_transaction_session_timeout" => {
            (WORK_TIME_MIN, "without prepared statements, it pauses between statements".to_owned(), "")
        }
        _ => (
            options.lock_wait_max.saturating_add(WORK_TIME_MIN),
            format!("{:?} to wait for a lock and {WORK_TIME_MIN:?} to work", options.lock_wait_max),
            ", or give the store a shorter `lock_timeout`",
        ),
    };
    if limit >= needed {
        return Ok(());
    }
    Err(StoreError::misconfigured(format!(
        "`{setting}` {whose} is {limit:?}, but a call needs at least {needed:?} ({why}): \
         alter the role or the database to {setting} = 0 or to {} or more{other}",
        milliseconds(needed)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PostgresStore;

    #[test]
    fn a_time_limit_must_let_a_call_wait_for_a_lock_and_work() {
        let options = |prepared| {
            let builder = PostgresStore::builder("postgres://app@localhost/app");
            builder.prepared_statements(prepared).lock_timeout(Duration::from_millis(500)).check().unwrap()
        };
        for (setting, millis, prepared, allowed) in [
            ("statement_timeout", 1499, true, false),
            ("statement_timeout", 1500, true, true),
            ("transaction_timeout", 1499, true, false),
            ("transaction_timeout", 1500, false, true),
            ("idle_in_transaction_session_timeout", 1, true, true),
            ("idle_in_transaction_session_timeout", 999, false, false),
            ("idle_in_transaction_session_timeout", 1000, false, true),
        ] {
            let limit = Duration::from_millis(millis);
            let answer = check_time_limit(setting, limit, "of user `app`", &options(prepared));
            assert_eq!(answer.is_ok(), allowed, "{setting} {millis} {answer:?}");
        }
    }
}
