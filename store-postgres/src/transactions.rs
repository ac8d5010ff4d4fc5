//! The transactions of tasks: their connections, how one begins, and how it settles its own task. It must not know what they
//! write.
//!
//! Nothing but the row of the task decides: whoever deletes it says how the task ended. A transaction deletes it as its last
//! statement, under a claim that still holds, and commits. Until then it has the row locked, and everybody else skips it.

use std::fmt;

use bytes::Bytes;
use pgworkflows_core::activity::OwnTask;
use pgworkflows_core::store::{Hint, StoreError};
use sqlx::postgres::{PgConnection, PgPool, PgTransaction};
use sqlx::{Connection, Executor, Row};

use crate::connect::describe_address;
use crate::error::store_error;
use crate::pool::{Pool, Taken};
use crate::shared::{Shared, only};
use crate::tasks::executor_number;
use crate::values::uuid;

const BEGIN: &str = "select @schema@.begin_own_task($1, $2)";

const SETTLE: &str = "select @schema@.settle_own_task($1, $2, $3, $4, $5, $6)";

/// Tells databases apart, for any user: no two servers start in the same microsecond.
const DATABASE: &str = "
    select pg_catalog.pg_postmaster_start_time()::text || ' ' || d.oid::text
    from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()";

/// The isolation level of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it: PostgreSQL's default.
    #[default]
    ReadCommitted,
    /// All statements see what was committed before the first one.
    RepeatableRead,
    /// The transaction has the effect of one that ran alone.
    Serializable,
}

/// Writes it as SQL does, such as `repeatable read`.
impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ReadCommitted => "read committed",
            Self::RepeatableRead => "repeatable read",
            Self::Serializable => "serializable",
        })
    }
}

impl Isolation {
    fn begin(self) -> &'static str {
        match self {
            Self::ReadCommitted => "begin isolation level read committed read write",
            Self::RepeatableRead => "begin isolation level repeatable read read write",
            Self::Serializable => "begin isolation level serializable read write",
        }
    }
}

/// Where the connections come from.
pub(crate) enum Connections {
    /// From the store's own pool for transactions.
    Store,
    /// From a pool of the user's.
    User(PgPool),
}

impl Connections {
    pub(crate) async fn take(&self, shared: &Shared) -> Result<Taken, sqlx::Error> {
        match self {
            Self::Store => shared.transactions.take().await,
            Self::User(pool) => pool.acquire().await.map(Taken::new),
        }
    }

    /// Takes back a connection without an open transaction.
    pub(crate) fn put_back(&self, shared: &Shared, taken: Taken) {
        match self {
            Self::Store => shared.transactions.put_back(taken),
            Self::User(_) => Pool::release(taken),
        }
    }
}

/// Begins the transaction of a task.
pub(crate) async fn begin<'c>(
    shared: &Shared,
    connection: &'c mut PgConnection,
    isolation: Isolation,
    task: &OwnTask,
) -> Result<PgTransaction<'c>, sqlx::Error> {
    let mut transaction = connection.begin_with(isolation.begin()).await?;
    let limit = task.start_to_close().map(|limit| {
        // A server's limit of 0 would be none, and the greatest is that of an `int`.
        i64::try_from(limit.as_millis()).unwrap_or(i64::MAX).clamp(1, i32::MAX.into())
    });
    let query = shared.statements.query(BEGIN).bind(mark(task)).bind(limit);
    transaction.execute(query).await?;
    Ok(transaction)
}

/// Settles the task of a transaction in it. Returns whether the transaction may commit.
pub(crate) async fn settle(
    shared: &Shared,
    transaction: &mut PgTransaction<'_>,
    task: &OwnTask,
    message: &Bytes,
) -> Result<bool, sqlx::Error> {
    let claim = task.claim();
    let query = shared
        .statements
        .query(SETTLE)
        .bind(mark(task))
        .bind(executor_number(task.executor()))
        .bind(uuid(claim.task.run))
        .bind(claim.task.seq.get().cast_signed())
        .bind(claim.number.cast_signed())
        .bind(&message[..]);
    transaction.fetch_one(query).await?.try_get(0)
}

/// The transaction is committed: notifies the owner of the run. Within the transaction, this would cost more.
pub(crate) fn notify(shared: &Shared, task: &OwnTask) {
    shared.notifier.notify([Hint::Mail(task.claim().task.run.shard())], false);
}

/// Whether the activity ended the transaction of its task itself, so that what follows is not part of it.
pub(crate) fn has_ended(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "PW005")
}

/// Marks a transaction as that of a claim of a task.
fn mark(task: &OwnTask) -> String {
    let claim = task.claim();
    format!("{}:{}:{}", claim.task.run, claim.task.seq, claim.number)
}

/// Refuses a pool that leads to another database than the store.
pub(crate) async fn check_pool(shared: &Shared, pool: &PgPool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await.map_err(store_error)?;
    let theirs: String = connection
        .fetch_one(sqlx::raw_sql(DATABASE))
        .await
        .and_then(|row| row.try_get(0))
        .map_err(store_error)?;
    let ours: String =
        only(shared.fetch(shared.statements.query(DATABASE)).await?)?.try_get(0).map_err(store_error)?;
    if theirs == ours {
        return Ok(());
    }
    Err(StoreError::misconfigured(format!(
        "the pool leads to {}, and the store to {}: a transactional activity writes to the store's own database; \
         give it a pool for that one",
        describe_address(&pool.connect_options()),
        describe_address(&shared.options.connect)
    )))
}
