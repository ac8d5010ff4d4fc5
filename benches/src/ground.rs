//! Where runs are kept while they are measured. It must not know what is measured.

use std::sync::Arc;

use clap::ValueEnum;
use pgworkflows::store::Store;
use pgworkflows::{MemoryStore, PostgresStore};
use pgworkflows_pg_harness::Postgres;
use sqlx::{Connection, PgConnection};

use crate::Failure;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// `pgworkflows-postgres`.
    Postgres,
    /// `pgworkflows-memory`.
    Memory,
}

/// An address of a schema in a database.
#[derive(Clone, Debug)]
pub struct Address {
    /// The database's URL.
    pub url: String,
    /// The schema.
    pub schema: String,
}

impl Address {
    /// Opens the store there.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        Ok(Arc::new(PostgresStore::builder(&self.url).schema(&self.schema).connect().await?))
    }
}

/// A store with whatever it needs to live.
#[derive(Debug)]
pub struct Ground {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Where other processes and statements of our own find it, if it is a database.
    pub address: Option<Address>,
    /// A throw-away server; it ends with this value.
    server: Option<Postgres>,
}

impl Ground {
    /// Opens a store: in memory, on the server of that URL, or on a throw-away server whose commits wait for the
    /// disk, with the default settings of its version.
    ///
    /// # Errors
    /// If there is no server, or it cannot be reached.
    pub async fn open(kind: StoreKind, url: Option<&str>, schema: &str) -> Result<Self, Failure> {
        if kind == StoreKind::Memory {
            return Ok(Self { store: Arc::new(MemoryStore::new()), address: None, server: None });
        }
        let server = match url {
            Some(_) => None,
            None => Some(Postgres::builder().durable().start()?),
        };
        let url = server.as_ref().map(Postgres::url).or_else(|| url.map(str::to_owned)).unwrap_or_default();
        if server.is_some() {
            warm_up(&url).await?;
        }
        let address = Address { url, schema: schema.to_owned() };
        Ok(Self { store: address.open().await?, address: Some(address), server })
    }

    /// The log of a throw-away server.
    pub fn server_log(&self) -> Option<String> {
        self.server.as_ref().map(Postgres::log)
    }
}

/// Leaves a server with the WAL segments of one that has run for a while: a new one makes them while it is measured,
/// every 16 MiB with a flush of their own.
async fn warm_up(url: &str) -> Result<(), Failure> {
    let mut connection = PgConnection::connect(url).await?;
    for statement in [
        "select count(pg_logical_emit_message(false, 'warm-up', repeat('x', 1000000))) from generate_series(1, 800)",
        "checkpoint",
    ] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    Ok(connection.close().await?)
}
