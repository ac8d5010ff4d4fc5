//! Makes the partitions of the log, which hold runs by the time at which they were born. They are made ahead of time,
//! so that appends rarely wait for one. The SQL function `make_partition` in the migrations describes how. This file
//! must not know what a run is.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use pgworkflows_core::store::StoreError;
use pgworkflows_core::{RunId, Timestamp};

use crate::session::PostgresSession;
use crate::values::get;

const MAKE: &str = "
    select @schema@.make_partition(
        coalesce($1, pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp()) * 1000)::bigint), $2, $3)";

/// How many partitions after the current one exist. Attaching the second makes every session of the server read the
/// list of partitions again, so that none misses the first when it is first used (see `make_partition`).
const PARTITIONS_AHEAD: usize = 2;

/// How often the parent's lock is retried. An `analyze` or a detachment may hold it.
const RETRIES: usize = 3;

/// Whether this role may make partitions. One that only reads may not, and needs none.
const MAY_MAKE: &str =
    "select pg_catalog.has_function_privilege('@schema@.make_partition(bigint, text, boolean)', 'execute')";

/// Makes the current partition and those ahead of it, if this role may.
pub(crate) async fn make_first_if_allowed(session: &mut PostgresSession) -> Result<(), StoreError> {
    let query = session.query(MAY_MAKE);
    match get(&session.fetch_one(query).await?, 0)? {
        true => make_first(session).await,
        false => Ok(()),
    }
}

/// Makes the current partition and those ahead of it.
pub(crate) async fn make_first(session: &mut PostgresSession) -> Result<(), StoreError> {
    let next_due = make(session, None, false).await?;
    let mut end = next_due;
    for _ in 0..PARTITIONS_AHEAD {
        end = make(session, Some(end), false).await?;
    }
    session.shared.partition_due.store(next_due, Ordering::Relaxed);
    Ok(())
}

/// Makes another partition if it is time. A failure is only logged: the time of two whole partitions is left for
/// retries, and an append that finds no partition makes it.
pub(crate) async fn make_ahead(session: &mut PostgresSession, now: Timestamp) {
    if millis(now) < session.shared.partition_due.load(Ordering::Relaxed) {
        return;
    }
    if let Err(error) = make_first(session).await {
        tracing::warn!(%error, "another partition of the log could not be made; the next heartbeat tries again");
    }
}

/// Makes the partitions that an append of these runs missed, or attaches them again.
pub(crate) async fn make_for(
    session: &mut PostgresSession,
    runs: impl Iterator<Item = RunId>,
) -> Result<(), StoreError> {
    let births: BTreeSet<i64> = runs.map(|run| millis(run.born())).collect();
    let mut made_until = i64::MIN;
    for born in births {
        // Births ascend, so this one may be in the partition that was just made.
        if born >= made_until {
            made_until = make(session, Some(born), true).await?;
        }
    }
    Ok(())
}

/// Makes the partition of a time (by default, now), and returns when it ends. Retries while the parent is locked.
/// `missed` says that an append did not find it, although it may be attached.
async fn make(
    session: &mut PostgresSession,
    born_millis: Option<i64>,
    missed: bool,
) -> Result<i64, StoreError> {
    let mut waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_times(RETRIES)
        .with_jitter()
        .build();
    loop {
        let query = session.query(MAKE);
        let query = query.bind(born_millis).bind(&session.shared.options.lock_timeout).bind(missed);
        match session.fetch_one(query).await {
            Err(error @ StoreError::Unavailable { .. }) => match waits.next() {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            },
            row => return get(&row?, 0),
        }
    }
}

fn millis(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1000)
}
