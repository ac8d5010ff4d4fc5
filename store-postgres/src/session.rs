//! A session: one caller's connection, which is replaced after it was lost or a call on it was cut short. It must not
//! know what a call does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows_core::RunId;
use pgworkflows_core::store::{
    Append, Appended, Claim, Claimed, Due, DueRuns, Heartbeat, HeartbeatAnswer, InboxPage, InboxRead, Load,
    Loaded, Release, Session, StoreError, Unparked,
};
use sqlx::Connection;
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query;

use crate::connect::connect;
use crate::error::{leaves_connection_usable, store_error};
use crate::store::Shared;
use crate::{append, inbox, lease, moved, partition, recover};

/// A session on PostgreSQL.
pub(crate) struct PostgresSession {
    pub(crate) shared: Arc<Shared>,
    /// Taken out during a call. A call that is dropped half-way drops the connection too, so that a later call never
    /// reads its answer.
    connection: Option<PgConnection>,
}

impl PostgresSession {
    /// Opens a session and its connection.
    pub(crate) async fn open(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let mut session = Self { shared, connection: None };
        session.connection = Some(session.take().await?);
        Ok(session)
    }

    /// Prepares the schema for work: rewrites a moved inbox, and makes the first partitions.
    pub(crate) async fn prepare(&mut self) -> Result<(), StoreError> {
        moved::rewrite_if_moved(self).await?;
        partition::make_first(self).await
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn fetch(
        &mut self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.fetch_raw(query).await?.map_err(store_error)
    }

    /// Runs a statement, for a caller that needs the server's error.
    pub(crate) async fn fetch_raw(
        &mut self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Result<Vec<PgRow>, sqlx::Error>, StoreError> {
        let mut connection = self.take().await?;
        let call = rows(&mut connection, query, self.shared.prepared_statements);
        let rows = with_timeout(self.shared.call_timeout, call).await;
        if rows.as_ref().err().is_none_or(leaves_connection_usable) {
            self.connection = Some(connection);
        }
        Ok(rows)
    }

    async fn take(&mut self) -> Result<PgConnection, StoreError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let timeout = self.shared.call_timeout;
        tokio::time::timeout(timeout, connect(&self.shared.connect)).await.map_err(|_| {
            StoreError::unavailable(format!("no connection could be opened within {timeout:?}"))
        })?
    }
}

/// Runs one statement and commits.
///
/// The driver sends a statement and its parameters in two messages, each with its own sync. If the statement is
/// unnamed, another client's statement with the same parameters may replace it in between, on a pooled connection of
/// the server. Inside a transaction, no other client uses that connection.
pub(crate) async fn rows(
    connection: &mut PgConnection,
    query: Query<'_, Postgres, PgArguments>,
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
    tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {timeout:?}");
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason)))
    })
}

#[async_trait]
impl Session for PostgresSession {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        lease::claim(self, claim).await
    }

    async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, StoreError> {
        let answer = lease::heartbeat(self, heartbeat).await?;
        partition::make_ahead(self, answer.now).await;
        Ok(answer)
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        append::append(self, append).await
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        inbox::read(self, read).await
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<Vec<RunId>, StoreError> {
        recover::unparked(self, unparked).await
    }

    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        recover::load(self, load).await
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        recover::due_runs(self, due).await
    }

    async fn release(&mut self, release: &Release) -> Result<(), StoreError> {
        lease::release(self, release).await
    }
}
