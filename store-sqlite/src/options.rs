//! The options of a store. It opens nothing.

use std::path::{Path, PathBuf};

use pgworkflows_core::store::StoreError;

use crate::file::File;
use crate::place;

/// The least `size_max`: an empty store has half of that.
const SIZE_LEAST: u64 = 1 << 20;

/// Options of a [`SqliteStore`](crate::SqliteStore), made by [`SqliteStore::builder`](crate::SqliteStore::builder).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// use pgworkflows::SqliteStore;
///
/// # let directory = std::env::temp_dir();
/// # let path = directory.join(format!("pgworkflows-options-{}.db", std::process::id()));
/// let store = SqliteStore::builder(&path).size_max(10 << 30).open().await?;
/// # for suffix in ["", "-wal", "-shm", "-next", "-now"] {
/// #     let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    path: PathBuf,
    migrate: bool,
    size_max: Option<u64>,
    verify: bool,
}

impl Builder {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), migrate: true, size_max: None, verify: cfg!(debug_assertions) }
    }

    /// Sets whether opening creates the file and brings its schema up to date (the default), or refuses a file that is not there or
    /// not up to date: so a program that only looks changes nothing under the workers of an older build.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Sets how many bytes the file may have: 1 MiB or more; by default as many as its disk has. Beyond that, nothing is written,
    /// as on a full disk: calls fail and are retried, and nothing is lost. The write-ahead log beside the file has 16 MiB more,
    /// up to 64 MiB if there are readers at every moment, and more than that while somebody reads for long.
    #[must_use]
    pub fn size_max(mut self, bytes: u64) -> Self {
        self.size_max = Some(bytes);
        self
    }

    /// Sets whether every batch is compared with the log before it is written. This assertion catches bugs of the engine, and
    /// costs one probe per run. By default it is on in builds with debug assertions.
    #[must_use]
    pub fn verify_appends(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// The file, if the options can be used.
    pub(crate) fn check(self) -> Result<File, StoreError> {
        let Self { path, migrate, size_max, verify } = self;
        if let Some(bytes) = size_max.filter(|bytes| *bytes < SIZE_LEAST) {
            return Err(StoreError::misconfigured(format!(
                "a `size_max` of {bytes} bytes has no room for a store: give {SIZE_LEAST} (1 MiB) or more"
            )));
        }
        place::check(&path)?;
        // The program may change its directory later.
        let path = std::path::absolute(&path).unwrap_or(path);
        let resolved = place::resolve(&path).unwrap_or_else(|_| path.clone());
        Ok(File { path: path.into(), resolved, migrate, size_max, verify })
    }
}
