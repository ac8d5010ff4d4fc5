//! Connections that read, shared by all of a process. Readers see what is committed, and block nobody. It must not know what is
//! read.
//!
//! A read is part of its caller's future, and so is its panic: it unwinds there and nowhere else. No transaction is open between two
//! statements, so the connection goes back unless a statement was under way.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgworkflows_core::store::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::connection::Connection;
use crate::file::File;

/// How many connections read at a time.
const READERS_MAX: usize = 4;

/// The connections that read.
#[derive(Debug)]
pub(crate) struct Readers {
    file: Arc<File>,
    idle: Mutex<Vec<Connection>>,
    places: Semaphore,
}

/// A connection that reads. It goes back when it is dropped.
pub(crate) struct Reader<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
    _place: SemaphorePermit<'a>,
}

impl Readers {
    pub(crate) fn of(file: Arc<File>) -> Self {
        Self { file, idle: Mutex::default(), places: Semaphore::new(READERS_MAX) }
    }

    /// Waits for a connection.
    pub(crate) async fn take(&self) -> Result<Reader<'_>, StoreError> {
        let place = self.places.acquire().await.expect("the places are never closed");
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.file.connect_reader().await?,
        };
        Ok(Reader { readers: self, connection: Some(connection), _place: place })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Reader<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Reader<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // Also a call that was dropped half-way leaves its connection as failed.
        self.readers.idle().extend(self.connection.take().filter(|connection| !connection.has_failed()));
    }
}
