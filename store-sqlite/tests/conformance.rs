//! Runs the conformance suite on the SQLite store, each case on a separate file. It must not define cases.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows_core::store::Store;
use pgworkflows_sqlite::SqliteStore;
use pgworkflows_testkit::conformance::Harness;

use self::common::Directory;

/// Long enough for a case to keep its lease on a busy machine.
const LEASE_TTL: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct SqliteHarness {
    directory: Directory,
}

impl Default for SqliteHarness {
    fn default() -> Self {
        Self { directory: Directory::new("conformance") }
    }
}

#[async_trait]
impl Harness for SqliteHarness {
    async fn connect(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.directory.file("runs.db")).await.expect("a fresh file"))
    }

    fn lease_ttl(&self) -> Duration {
        LEASE_TTL
    }

    async fn let_lease_expire(&self) {
        tokio::time::sleep(LEASE_TTL + Duration::from_millis(50)).await;
    }
}

pgworkflows_testkit::store_conformance!(SqliteHarness::default());
