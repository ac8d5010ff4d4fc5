//! What the store and its sessions share: the options, the statements, the pool of the clients. It must not know what a
//! statement does.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use pgworkflows_core::store::{StoreError, Switchboard};
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgRow};

use crate::error::{leaves_connection_usable, store_error, timed_out};
use crate::notify::Notifier;
use crate::options::Options;
use crate::pool::Pool;
use crate::sql::{PgQuery, Statements};

/// The state that the store and its sessions share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) statements: Statements,
    pub(crate) notifier: Notifier,
    /// When the current partition of the log ends, in milliseconds since 1970, so that most heartbeats need not ask.
    pub(crate) partition_due: AtomicI64,
    pub(crate) switchboard: Switchboard,
    pub(crate) pool: Pool,
    /// For the transactions of tasks, which would keep clients waiting.
    pub(crate) transactions: Pool,
}

impl Shared {
    /// Runs a statement on a connection of the pool, and returns its rows.
    pub(crate) async fn fetch(&self, query: PgQuery) -> Result<Vec<PgRow>, StoreError> {
        self.fetch_raw(query).await.map_err(store_error)
    }

    /// Runs a statement that returns one row.
    pub(crate) async fn fetch_one(&self, query: PgQuery) -> Result<PgRow, StoreError> {
        only(self.fetch(query).await?)
    }

    /// Runs a statement, for a caller that needs the server's error.
    pub(crate) async fn fetch_raw(&self, query: PgQuery) -> Result<Vec<PgRow>, sqlx::Error> {
        with_timeout(self.options.call_timeout, self.fetch_pooled(query)).await
    }

    /// If a caller drops the call half-way, or its answer does not arrive in time, its connection is closed.
    async fn fetch_pooled(&self, query: PgQuery) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut taken = self.pool.take().await?;
        let Some(connection) = taken.connection() else { return Err(sqlx::Error::WorkerCrashed) };
        let rows = rows(connection, query, self.options.prepared_statements).await;
        if rows.as_ref().err().is_none_or(leaves_connection_usable) {
            self.pool.put_back(taken);
        }
        rows
    }
}

/// Runs one statement and commits.
///
/// The driver sends a statement and its parameters in two messages, each with its own sync. If the statement is
/// unnamed, another client's statement with the same parameters may replace it in between, on a pooled connection of
/// the server. Inside a transaction, no other client uses that connection.
pub(crate) async fn rows(
    connection: &mut PgConnection,
    query: PgQuery,
    prepared_statements: bool,
) -> Result<Vec<PgRow>, sqlx::Error> {
    if prepared_statements {
        return query.fetch_all(connection).await;
    }
    let mut transaction = connection.begin().await?;
    match query.fetch_all(&mut *transaction).await {
        Ok(rows) => transaction.commit().await.map(|()| rows),
        Err(error) => {
            // The first error counts. A lost connection shows at its next call.
            transaction.rollback().await.ok();
            Err(error)
        }
    }
}

/// Gives up a call whose answer does not arrive in time: a network may drop packets silently.
pub(crate) async fn with_timeout<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let answer = tokio::time::timeout(timeout, call).await;
    answer.unwrap_or_else(|_| Err(timed_out(&format!("no answer within {timeout:?}"))))
}

/// The row of a statement that returns one.
pub(crate) fn only(rows: Vec<PgRow>) -> Result<PgRow, StoreError> {
    rows.into_iter().next().ok_or_else(|| store_error(sqlx::Error::RowNotFound))
}
