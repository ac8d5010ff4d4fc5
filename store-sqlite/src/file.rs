//! The file: which one it is, and how connections to it are opened. It must not know a table.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pgworkflows_core::store::StoreError;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::connection::{Connection, DEMANDS};
use crate::error::{later_error, store_error};
use crate::place::beside;

/// How long a statement waits for a lock of SQLite. Processes wait for their turn elsewhere, so only a program that does not
/// belong to PgWorkflows makes it wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many statements a connection keeps. With lists of values there are up to nine of each.
const STATEMENTS_KEPT: usize = 1024;

/// How many rows of an answer are read ahead. A row may have some megabytes.
const ROWS_AHEAD: usize = 32;

/// After how many pages of the write-ahead log a commit moves them to their places: 16 MB. By SQLite's default it is a quarter of
/// that, and takes twice as long in all.
const CHECKPOINT_PAGES: &str = "4096";

/// How much of the file the writer keeps in memory, in KiB.
const CACHE_KIB: &str = "-32768";

/// The size of a page, which `max_page_count` counts.
const PAGE_BYTES: u64 = 4096;

/// The file of a store, and its options.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: Arc<Path>,
    /// The same without links: the files beside it are there.
    pub(crate) resolved: PathBuf,
    /// Whether it may be created, and brought up to date.
    pub(crate) migrate: bool,
    pub(crate) size_max: Option<u64>,
    pub(crate) verify: bool,
}

impl File {
    /// A connection that only looks, and changes nothing about the file.
    pub(crate) async fn connect_visitor(&self) -> Result<Connection, StoreError> {
        let options = self.options().create_if_missing(false).pragma("query_only", "on");
        self.connect(options, false).await.map_err(|error| store_error(&self.path, error))
    }

    /// The first connection that writes. Its commits are on the disk before they are answered.
    pub(crate) async fn connect_writer(&self) -> Result<Connection, StoreError> {
        let connected = self.connect(self.writing().create_if_missing(true), false).await;
        let mut connection = connected.map_err(|error| store_error(&self.path, error))?;
        connection.script(DEMANDS).await?;
        Ok(connection)
    }

    /// The connection that writes after the first one, to the same file.
    pub(crate) async fn reconnect_writer(&self) -> Result<Connection, StoreError> {
        let mut connection = self.connect_later(self.writing().create_if_missing(false)).await?;
        connection.script(DEMANDS).await?;
        Ok(connection)
    }

    fn writing(&self) -> SqliteConnectOptions {
        let options = self
            .options()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // On macOS, a plain flush does not reach the disk.
            .pragma("fullfsync", "on")
            .pragma("checkpoint_fullfsync", "on")
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("cache_size", CACHE_KIB)
            .pragma("temp_store", "memory");
        match self.size_max {
            Some(bytes) => options.pragma("max_page_count", (bytes / PAGE_BYTES).max(1).to_string()),
            None => options,
        }
    }

    /// A connection that reads, of a store that is open.
    pub(crate) async fn connect_reader(&self) -> Result<Connection, StoreError> {
        let options = self.options().create_if_missing(false).pragma("query_only", "on");
        self.connect_later(options.pragma("temp_store", "memory")).await
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .foreign_keys(false)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .row_buffer_size(ROWS_AHEAD)
            .thread_name(|number| format!("sqlite-{number}"))
            .disable_statement_logging()
    }

    async fn connect(&self, options: SqliteConnectOptions, later: bool) -> Result<Connection, sqlx::Error> {
        Ok(Connection::new(options.connect().await?, Arc::clone(&self.path), later))
    }

    async fn connect_later(&self, options: SqliteConnectOptions) -> Result<Connection, StoreError> {
        self.connect(options, true).await.map_err(|error| later_error(&self.path, error))
    }

    /// The write-ahead log.
    pub(crate) fn log(&self) -> PathBuf {
        beside(&self.resolved, "-wal")
    }

    /// The index of the write-ahead log, which all programs share.
    pub(crate) fn index(&self) -> PathBuf {
        beside(&self.resolved, "-shm")
    }

    /// The error of something beside the database itself.
    pub(crate) fn unavailable(&self, what: &str, error: &std::io::Error) -> StoreError {
        StoreError::unavailable(format!("`{}`: {what} failed: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::sql;
    use crate::values::get;

    #[test]
    fn commits_wait_for_the_disk() {
        let path = std::env::temp_dir().join(format!("pgworkflows-file-{}.db", std::process::id()));
        let file = File {
            path: path.as_path().into(),
            resolved: path.clone(),
            migrate: true,
            size_max: None,
            verify: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut connection = file.connect_writer().await.unwrap();
            // 2 is `full`: in the write-ahead log, less than that loses the last commits with the power.
            for (pragma, expected) in
                [("pragma synchronous", 2), ("pragma fullfsync", 1), ("pragma checkpoint_fullfsync", 1)]
            {
                let row = connection.fetch_first(sql(pragma)).await.unwrap().unwrap();
                assert_eq!(get::<i64>(&row, 0).unwrap(), expected, "{pragma}");
            }
            let row = connection.fetch_first(sql("pragma journal_mode")).await.unwrap().unwrap();
            assert_eq!(get::<String>(&row, 0).unwrap(), "wal");
        });
        std::fs::remove_file(&path).unwrap();
    }
}
