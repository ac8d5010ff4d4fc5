//! What is with the server, whatever is stored in it. It must not know the tables.

use std::time::Duration;

use pgworkflows_core::store::StoreError;

use super::{Check, Finding, Patient};
use crate::connect::{check_encoding, check_version, standby_refused};
use crate::durability::{DURABILITY, risks};
use crate::values::get;

/// More than this part of the server's connections in use leaves too few for a deploy, which opens new ones first.
const CONNECTIONS_PART_MAX: f64 = 0.85;

/// The queue is never filled by this library, but a session that listens and keeps a transaction open keeps it from being emptied.
const NOTIFICATIONS_PART_MAX: f64 = 0.5;

/// After this time, the rows that a transaction keeps from vacuum begin to cost.
const TRANSACTION_MAX: Duration = Duration::from_secs(600);

/// The server stops taking writes about 2,100 million transactions after the last freeze. Autovacuum begins to freeze at 200.
const XID_AGE_MAX: i64 = 1_000_000_000;

const VERSION: &str = "
    select pg_catalog.current_setting('server_version_num')::int, pg_catalog.current_setting('server_version'),
           pg_catalog.current_setting('server_encoding'), pg_catalog.pg_is_in_recovery()";

const CONNECTIONS: &str = "
    select pg_catalog.count(*), pg_catalog.current_setting('max_connections')::bigint
    from pg_catalog.pg_stat_activity where backend_type = 'client backend'";

const NOTIFICATIONS: &str = "select pg_catalog.pg_notification_queue_usage()";

/// The oldest transaction that keeps rows from vacuum. What another user does may be hidden.
const OLDEST: &str = "
    select a.pid, coalesce(a.usename, '')::text, coalesce(a.application_name, ''), coalesce(a.state, ''),
           extract(epoch from pg_catalog.clock_timestamp() - a.xact_start)::bigint
    from pg_catalog.pg_stat_activity a
    where (a.backend_xmin is not null or a.backend_xid is not null) and a.xact_start is not null
      and a.pid <> pg_catalog.pg_backend_pid() and a.datname = pg_catalog.current_database()
    order by a.xact_start limit 1";

const XID_AGE: &str = "
    select pg_catalog.age(d.datfrozenxid)::bigint from pg_catalog.pg_database d
    where d.datname = pg_catalog.current_database()";

pub(super) async fn version(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let row = patient.read_one(VERSION).await?;
    let (number, version): (i32, String) = (get(&row, 0)?, get(&row, 1)?);
    check_version(number, &version)?;
    let (encoding, standby): (String, bool) = (get(&row, 2)?, get(&row, 3)?);
    check_encoding(&encoding, &patient.options.connect)?;
    if standby {
        return Err(StoreError::misconfigured(standby_refused(&patient.options.connect)));
    }
    Ok(Finding::ok(Check::Server, format!("PostgreSQL {version}, a primary with UTF8")))
}

pub(super) async fn connections(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let row = patient.read_one(CONNECTIONS).await?;
    Ok(judge_connections(get(&row, 0)?, get(&row, 1)?))
}

fn judge_connections(used: i64, all: i64) -> Finding {
    let found = format!("{used} of {all} connections of the server are in use");
    if used as f64 <= all as f64 * CONNECTIONS_PART_MAX {
        return Finding::ok(Check::Connections, found);
    }
    let advice = "raise `max_connections`, or give programs smaller pools: a worker with p processors needs p + 4 connections";
    Finding::warning(Check::Connections, found, advice)
}

pub(super) async fn durability(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let row = patient.read_one(DURABILITY).await?;
    let (fsync, commit): (String, String) = (get(&row, 0)?, get(&row, 1)?);
    let (waits, asynchronous): (bool, Option<String>) = (get(&row, 2)?, get(&row, 3)?);
    let risks = risks(&fsync, &commit, waits, asynchronous.as_deref());
    if risks.is_empty() {
        return Ok(Finding::ok(Check::Durability, "what was acknowledged survives a crash"));
    }
    let advice = "change the setting, unless losing what was acknowledged is what you chose";
    Ok(Finding::warning(Check::Durability, risks.join("; "), advice))
}

pub(super) async fn notifications(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let usage: f64 = get(&patient.read_one(NOTIFICATIONS).await?, 0)?;
    Ok(judge_notifications(usage))
}

fn judge_notifications(usage: f64) -> Finding {
    let found = format!("the queue of notifications is {:.0} % full", usage * 100.0);
    if usage <= NOTIFICATIONS_PART_MAX {
        return Finding::ok(Check::Notifications, found);
    }
    let advice = "a session that listens keeps a transaction open: find it in `pg_stat_activity` and end it. From 90 % on, this \
                  library notifies no more, and changes of other processes are found by polling";
    Finding::warning(Check::Notifications, found, advice)
}

pub(super) async fn transactions(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let age: i64 = get(&patient.read_one(XID_AGE).await?, 0)?;
    let oldest = patient.read(OLDEST).await?;
    let oldest = oldest.first().map(|row| {
        Ok::<_, StoreError>(Oldest {
            pid: get(row, 0)?,
            user: get(row, 1)?,
            program: get(row, 2)?,
            state: get(row, 3)?,
            age: Duration::from_secs(get::<i64>(row, 4)?.unsigned_abs()),
        })
    });
    Ok(judge_transactions(age, oldest.transpose()?.as_ref()))
}

/// The oldest transaction.
struct Oldest {
    pid: i32,
    user: String,
    program: String,
    state: String,
    age: Duration,
}

fn judge_transactions(xid_age: i64, oldest: Option<&Oldest>) -> Finding {
    if xid_age > XID_AGE_MAX {
        let advice = "find out why autovacuum does not freeze (old transactions, prepared transactions, replication slots), and \
                      run `vacuum (freeze)`: at about 2,100 million the server takes no writes";
        let found = format!(
            "the oldest transaction id of the database is {} million transactions old",
            xid_age / 1_000_000
        );
        return Finding::wrong(Check::Transactions, found, advice);
    }
    match oldest.filter(|oldest| oldest.age > TRANSACTION_MAX) {
        None => Finding::ok(Check::Transactions, "no transaction keeps rows from vacuum for long"),
        Some(Oldest { pid, user, program, state, age }) => Finding::warning(
            Check::Transactions,
            format!(
                "a transaction of user `{user}`, program `{program}` (process {pid}, {state}) is open for {age:?}, and keeps \
                 all rows that died since then"
            ),
            &format!("have the program commit sooner, or end it with `select pg_terminate_backend({pid})`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Verdict;

    #[test]
    fn connections_and_notifications_are_judged_by_what_is_left() {
        assert_eq!(judge_connections(85, 100).verdict, Verdict::Ok);
        assert_eq!(judge_connections(86, 100).verdict, Verdict::Warning);
        assert_eq!(judge_notifications(0.5).verdict, Verdict::Ok);
        let full = judge_notifications(0.93);
        assert!(full.verdict == Verdict::Warning && full.found.contains("93 %"), "{full:?}");
    }

    #[test]
    fn old_transaction_is_named_with_what_ends_it_and_old_ids_are_wrong() {
        let oldest = |seconds| Oldest {
            pid: 17,
            user: "report".to_owned(),
            program: "psql".to_owned(),
            state: "idle in transaction".to_owned(),
            age: Duration::from_secs(seconds),
        };
        assert_eq!(judge_transactions(5, None).verdict, Verdict::Ok);
        assert_eq!(judge_transactions(5, Some(&oldest(600))).verdict, Verdict::Ok);
        let old = judge_transactions(5, Some(&oldest(601)));
        assert!(old.found.contains("`report`, program `psql` (process 17, idle in transaction)"), "{old:?}");
        assert!(old.advice.unwrap().contains("pg_terminate_backend(17)"));
        assert_eq!(judge_transactions(XID_AGE_MAX + 1, None).verdict, Verdict::Wrong);
    }
}
