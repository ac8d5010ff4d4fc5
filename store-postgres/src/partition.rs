//! Partitions of the log, by the time at which runs were born: made ahead of time and never on the append's
//! path. What that takes is written in the function `make_partition`, in the migrations.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use pgworkflows_core::store::StoreError;
use pgworkflows_core::{RunId, Timestamp};

use crate::error::store_error;
use crate::session::PostgresSession;
use crate::values::get;

pub(crate) const MAKE: &str = "
    select @schema@.make_partition(
        coalesce($1, pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp()) * 1000)::bigint), $2)";

/// How often it is tried again to get the parent's lock, which an analysis or a detachment may hold.
const RETRIES: usize = 3;

/// What this process remembers of the partitions, so that a tick asks for none in vain.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    /// When the last partition made begins, in milliseconds since 1970: then the next one has to be made.
    next_due: AtomicI64,
}

/// Makes the partition of now and the one after it.
pub(crate) async fn make_first(session: &mut PostgresSession) -> Result<(), StoreError> {
    let next_due = make(session, None).await?;
    make(session, Some(next_due)).await?;
    session.shared.partitions.next_due.store(next_due, Ordering::Relaxed);
    Ok(())
}

/// Makes the next partition if it is time. That it cannot is no reason to fail: there is one whole partition's
/// time to try again, and an append that finds none has it made.
pub(crate) async fn make_ahead(session: &mut PostgresSession, now: Timestamp) {
    if millis(now) < session.shared.partitions.next_due.load(Ordering::Relaxed) {
        return;
    }
    if let Err(error) = make_first(session).await {
        tracing::warn!(%error, "the next partition of the log could not be made; the next tick tries again");
    }
}

/// Makes, or attaches again, the partitions that those runs need.
pub(crate) async fn make_for(
    session: &mut PostgresSession,
    runs: impl Iterator<Item = RunId>,
) -> Result<(), StoreError> {
    let births: BTreeSet<i64> = runs.map(|run| millis(run.born())).collect();
    let mut made_until = i64::MIN;
    for born in births {
        // Births ascend, and a partition holds all up to its end.
        if born >= made_until {
            made_until = make(session, Some(born)).await?;
        }
    }
    Ok(())
}

/// Makes the partition of that time and answers when it ends. A parent that is locked is tried again.
async fn make(session: &mut PostgresSession, born_millis: Option<i64>) -> Result<i64, StoreError> {
    let mut waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_times(RETRIES)
        .with_jitter()
        .build();
    loop {
        let query = session.shared.statements.make_partition.query();
        let query = query.bind(born_millis).bind(&session.shared.lock_timeout);
        match session.fetch(query).await {
            Err(error @ StoreError::Unavailable { .. }) => match waits.next() {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            },
            rows => {
                let rows = rows?;
                return get(rows.first().ok_or_else(|| store_error(sqlx::Error::RowNotFound))?, 0);
            }
        }
    }
}

fn millis(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1000)
}
