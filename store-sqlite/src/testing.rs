//! A store for unit tests. It must not know what is tested.

use std::path::PathBuf;

use tokio::runtime::Runtime;

use crate::SqliteStore;

/// A store in a directory of its own, which is deleted with it.
pub(crate) struct Fixture {
    directory: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) store: SqliteStore,
}

impl Fixture {
    pub(crate) fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("pgworkflows-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(SqliteStore::open(directory.join("runs.db"))).unwrap();
        Self { directory, runtime, store }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // A thread of the store may still close its files.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
