//! A session: one caller's connection, which is replaced after it was lost or a call on it was cut short. It must not
//! know what a call does.

use std::sync::Arc;

use pgworkflows_core::store::StoreError;
use sqlx::postgres::{PgConnection, PgRow};

use crate::connect::connect;
use crate::error::{leaves_connection_usable, store_error};
use crate::shared::{Shared, only, rows, with_timeout};
use crate::sql::PgQuery;

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

    /// Runs a statement and returns its rows.
    pub(crate) async fn fetch(&mut self, query: PgQuery) -> Result<Vec<PgRow>, StoreError> {
        self.fetch_raw(query).await?.map_err(store_error)
    }

    /// Runs a statement that returns one row.
    pub(crate) async fn fetch_one(&mut self, query: PgQuery) -> Result<PgRow, StoreError> {
        only(self.fetch(query).await?)
    }

    /// Runs a statement, for a caller that needs the server's error.
    pub(crate) async fn fetch_raw(
        &mut self,
        query: PgQuery,
    ) -> Result<Result<Vec<PgRow>, sqlx::Error>, StoreError> {
        let mut connection = self.take().await?;
        let call = rows(&mut connection, query, self.shared.options.prepared_statements);
        let rows = with_timeout(self.shared.options.call_timeout, call).await;
        if rows.as_ref().err().is_none_or(leaves_connection_usable) {
            self.connection = Some(connection);
        }
        Ok(rows)
    }

    /// A query of one of the store's statements.
    pub(crate) fn query(&self, text: &'static str) -> PgQuery {
        self.shared.statements.query(text)
    }

    async fn take(&mut self) -> Result<PgConnection, StoreError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let timeout = self.shared.options.call_timeout;
        tokio::time::timeout(timeout, connect(&self.shared.options.connect)).await.map_err(|_| {
            StoreError::unavailable(format!("no connection could be opened within {timeout:?}"))
        })?
    }
}
