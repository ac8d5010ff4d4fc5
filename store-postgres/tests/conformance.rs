//! Runs the conformance suite on the Postgres store, each case on a separate database. It must not define cases.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows_core::store::{Store, StoreError, Submission, Submitted};
use pgworkflows_pg_harness::{Database, Postgres};
use pgworkflows_postgres::PostgresStore;
use pgworkflows_testkit::conformance::{ClientTransaction, Harness};
use sqlx::{Connection, PgConnection};

/// Long enough for a case to keep its lease on a busy machine.
const LEASE_TTL: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct PostgresHarness {
    database: Database,
    store: OnceLock<PostgresStore>,
}

impl Default for PostgresHarness {
    fn default() -> Self {
        let database = Postgres::shared().create_database().expect("a server for tests");
        Self { database, store: OnceLock::new() }
    }
}

#[async_trait]
impl Harness for PostgresHarness {
    async fn connect(&self) -> Arc<dyn Store> {
        let store = PostgresStore::connect(self.database.url()).await.expect("a fresh database");
        Arc::new(self.store.get_or_init(|| store).clone())
    }

    fn lease_ttl(&self) -> Duration {
        LEASE_TTL
    }

    async fn let_lease_expire(&self) {
        tokio::time::sleep(LEASE_TTL + Duration::from_millis(50)).await;
    }

    async fn begin(&self) -> Option<Box<dyn ClientTransaction>> {
        let mut connection = PgConnection::connect(self.database.url()).await.expect("a server for tests");
        sqlx::query("begin").execute(&mut connection).await.expect("a transaction begins");
        let store = self.store.get().expect("a store was connected").clone();
        Some(Box::new(Transaction { store, connection }))
    }
}

struct Transaction {
    store: PostgresStore,
    connection: PgConnection,
}

#[async_trait]
impl ClientTransaction for Transaction {
    async fn submit(&mut self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        self.store.submit_in(&mut self.connection, submissions).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let committed = sqlx::query("commit").execute(&mut self.connection).await;
        committed.map(drop).map_err(|error| StoreError::unavailable(error.to_string()))
    }

    async fn rollback(mut self: Box<Self>) {
        sqlx::query("rollback").execute(&mut self.connection).await.expect("a transaction rolls back");
    }
}

pgworkflows_testkit::store_conformance!(PostgresHarness::default());
