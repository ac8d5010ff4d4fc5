//! The store itself, which all clients and workers of a process share. It must not know what a statement does.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use pgworkflows_core::store::{
    Hint, HintKind, Queue, Session, Store, StoreError, StoreQuery, Submission, Submitted, Switchboard, Watch,
    Watched,
};
use tokio::sync::broadcast;

use crate::calls::SqliteSession;
use crate::file::File;
use crate::notice::Notices;
use crate::options::Builder;
use crate::readers::Readers;
use crate::writer::Writer;
use crate::{lease, schema, submit, turn, watch};

/// A store in a SQLite file. Clones are handles to the same store.
///
/// A process opens the file once, and shares the store: all of its calls then go into the same commits.
#[derive(Clone)]
pub struct SqliteStore(pub(crate) Arc<Shared>);

/// What all users of a store share.
pub(crate) struct Shared {
    file: Arc<File>,
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
    notices: Arc<Notices>,
    switchboard: Switchboard,
}

impl SqliteStore {
    /// Opens the file with the default options, creates it if it does not exist, and brings its schema up to date.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder(path).open().await
    }

    /// Returns a builder, to set options before opening.
    pub fn builder(path: impl AsRef<Path>) -> Builder {
        Builder::new(path.as_ref())
    }

    async fn open_file(file: File) -> Result<Self, StoreError> {
        let file = Arc::new(file);
        schema::check(&file).await?;
        let queue = turn::Queue::of(&file.resolved)
            .map_err(|error| StoreError::misconfigured(format!(
                "the lock files beside `{}` cannot be opened: {error}; give this user the right to create files there",
                file.path.display()
            )))?;
        let notices = Arc::new(Notices::default());
        let writer = Writer::start(Arc::clone(&file), queue, Arc::clone(&notices)).await?;
        notices.start(Arc::clone(&file))?;
        let readers = Readers::of(Arc::clone(&file));
        let switchboard = Switchboard::default();
        Ok(Self(Arc::new(Shared { file, writer, readers, notices, switchboard })))
    }
}

impl Builder {
    /// Opens the file, creates it if it does not exist, and brings its schema up to date, unless [`migrate`](Self::migrate) is off.
    ///
    /// # Errors
    /// * [`StoreError::Misconfigured`]: the path is not UTF-8, or is that of a directory, of a device, of a file that is read-only, is
    ///   no SQLite database, or belongs to another program or a newer version; its directory does not exist, is not writable, or is
    ///   on a network file system; or a migration is missing that is not wanted.
    /// * [`StoreError::Unavailable`]: the disk is full, or another program has the file locked.
    /// * [`StoreError::Corrupt`]: the file is damaged.
    pub async fn open(self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open_file(self.check()?).await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.0.file.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        Ok(Box::new(SqliteSession(Arc::clone(&self.0))))
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        let name = name.to_owned();
        self.0
            .writer
            .call(0, async move |transaction| lease::open_queue(transaction, &name, shards).await)
            .await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        if submissions.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = submissions.iter().map(|submission| submission.body.len()).sum();
        let submissions = submissions.to_vec();
        self.0
            .writer
            .call(bytes, async move |transaction| submit::submit(transaction, &submissions).await)
            .await
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        watch::watch(&mut *self.0.readers.take().await?, watch).await
    }

    fn hints(&self, kind: HintKind) -> broadcast::Receiver<Hint> {
        self.0.notices.listen(kind)
    }

    fn query(&self) -> &dyn StoreQuery {
        self
    }

    fn switchboard(&self) -> Option<Switchboard> {
        Some(self.0.switchboard.clone())
    }
}
