//! The write-ahead log beside the file, and its index: the log is emptied once it is long, and nothing more is written if one of them
//! was deleted. It must not know a table.

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

/// The log and its index, as the connection that writes has them open.
#[derive(Debug)]
pub(crate) struct Log {
    /// The log, and its index.
    paths: [PathBuf; 2],
    /// Which files these are. They are there as long as a connection is.
    identities: [Option<Identity>; 2],
    /// The one of them that was found to be gone.
    gone: Option<PathBuf>,
    /// When it could not be emptied.
    held_up: Option<Instant>,
}

impl Log {
    /// The log of a file that was opened.
    pub(crate) fn of(file: &File) -> Self {
        let paths = [file.log(), file.index()];
        Self { identities: identities(&paths), paths, gone: None, held_up: None }
    }

    /// The connection that writes is another one. If it was the only one of all, its log went with it.
    pub(crate) fn reopened(&mut self) {
        self.identities = identities(&self.paths);
    }

    /// Refuses to write if the log was deleted or replaced: a commit would be in no file that is opened again. And so if its index was:
    /// another program that makes a new one does not see what this one writes, and the two damage the database.
    ///
    /// If the log was deleted, what it has is moved into the database: once, and only before another program can have begun a new log.
    pub(crate) async fn check(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        let found = identities(&self.paths);
        for ((known, found), path) in self.identities.iter_mut().zip(found).zip(&self.paths) {
            *known = known.or(found);
            if *known != found {
                self.gone.get_or_insert_with(|| path.clone());
            }
        }
        if self.gone.is_some() && found[0].is_none() && found[1] == self.identities[1] {
            connection.fetch_value::<bool>(sql("pragma wal_checkpoint(full)")).await?;
        }
        self.refuse_if_gone()
    }

    /// Refuses to write if one of them was found to be gone.
    pub(crate) fn refuse_if_gone(&self) -> Result<(), StoreError> {
        let Some(path) = &self.gone else { return Ok(()) };
        Err(StoreError::misconfigured(format!(
            "`{}` was deleted or replaced while this program had it open, so nothing is written any more: end all programs that have \
             the database open, and start them again",
            path.display()
        )))
    }

    /// Empties the log once it is long. SQLite itself does so only when there are no readers, which never happens while processes
    /// are busy. This call holds writers back and waits for the readers, but not for one that takes long.
    pub(crate) async fn limit(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        let was_tried = self.held_up.is_some_and(|at| at.elapsed() < EMPTY_AGAIN);
        let bytes = self.paths[0].metadata().map_or(0, |found| found.len());
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

fn identities(paths: &[PathBuf; 2]) -> [Option<Identity>; 2] {
    paths.each_ref().map(|path| place::identity(path).ok())
}
