//! The write-ahead log beside the file: it is emptied once it is long, and nothing more is written if it was deleted. It must not know
//! a table.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pgworkflows_core::store::StoreError;

use crate::connection::{Connection, sql};
use crate::file::File;
use crate::place::{self, Identity};

/// When the log is longer than this, it is emptied.
pub(crate) const LOG_BYTES_MAX: u64 = 64 << 20;

/// If somebody reads for so long that the log cannot be emptied, that is tried again after this time.
const EMPTY_AGAIN: Duration = Duration::from_secs(10);

/// The log, as the connection that writes has it open.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    /// Which file it is. It is there as long as a connection is.
    identity: Option<Identity>,
    /// When it could not be emptied.
    held_up: Option<Instant>,
    /// Whether it was found to be gone.
    gone: bool,
}

impl Log {
    /// The log of a file that was opened.
    pub(crate) fn of(file: &File) -> Self {
        let path = file.log();
        let identity = place::identity(&path).ok();
        Self { path, identity, held_up: None, gone: false }
    }

    /// The connection that writes is another one. If it was the only one of all, its log went with it.
    pub(crate) fn reopened(&mut self) {
        self.identity = place::identity(&self.path).ok();
    }

    /// Refuses to write if the log was deleted or replaced: a commit would be in no file that is opened again. If it was deleted, what
    /// it has is moved into the database: once, and only before another program can have begun a new log, because the index of the log
    /// is that of both.
    pub(crate) async fn check(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        let found = place::identity(&self.path).ok();
        self.identity = self.identity.or(found);
        if found == self.identity {
            return self.refuse_if_gone();
        }
        if !std::mem::replace(&mut self.gone, true) && found.is_none() {
            connection.fetch_value::<bool>(sql("pragma wal_checkpoint(full)")).await?;
        }
        self.refuse_if_gone()
    }

    /// Refuses to write if the log was found to be gone.
    pub(crate) fn refuse_if_gone(&self) -> Result<(), StoreError> {
        if !self.gone {
            return Ok(());
        }
        Err(StoreError::misconfigured(format!(
            "`{}` was deleted or replaced while this program had it open, so nothing is written any more: end all programs that have \
             the database open, and start them again",
            self.path.display()
        )))
    }

    /// Empties the log once it is long. SQLite itself does so only when there are no readers, which never happens while processes
    /// are busy. This call holds writers back and waits for the readers, but not for one that takes long.
    pub(crate) async fn limit(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        let was_tried = self.held_up.is_some_and(|at| at.elapsed() < EMPTY_AGAIN);
        let bytes = self.path.metadata().map_or(0, |found| found.len());
        if was_tried || bytes <= LOG_BYTES_MAX {
            return Ok(());
        }
        connection.execute(sql("pragma busy_timeout = 250")).await?;
        let is_read = connection.fetch_value(sql("pragma wal_checkpoint(truncate)")).await?.unwrap_or(true);
        connection.execute(sql("pragma busy_timeout = 5000")).await?;
        self.held_up = is_read.then(Instant::now);
        Ok(())
    }
}
