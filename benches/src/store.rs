//! The store on which runs are measured. It must not know what is measured.

use std::sync::Arc;

use clap::Args;
use pgworkflows::store::Store;
use pgworkflows::{MemoryStore, PostgresStore};
use pgworkflows_pg_harness::Postgres;
use sqlx::{Connection, PgConnection};

use crate::Failure;

/// A schema of a database; also the options of the programs that name one.
#[derive(Clone, Debug, Args)]
pub struct Address {
    /// An existing PostgreSQL server, as `postgres://user@host:5432/database`, or a SQLite file, as `sqlite:path`; without it
    /// a throw-away server is started, with fsync on.
    #[arg(long, global = true, default_value = "", hide_default_value = true)]
    pub url: String,

    /// The schema there; for `growth` it should be empty.
    #[arg(long, global = true, value_name = "NAME", default_value = "pgworkflows")]
    pub schema: String,

    /// Send and receive no notifications: what another process writes is found by polling.
    #[arg(long, global = true)]
    pub without_notifications: bool,
}

impl Address {
    /// Opens the store there.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        if !self.is_server() {
            return Ok(pgworkflows::connect(&self.url).await?);
        }
        let store = PostgresStore::builder(&self.url).schema(&self.schema);
        Ok(Arc::new(store.notifications(!self.without_notifications).connect().await?))
    }

    /// Whether it is that of a server, and not of a file.
    pub fn is_server(&self) -> bool {
        !self.url.starts_with("sqlite:")
    }
}

/// A store, and the server that it needs.
#[derive(Debug)]
pub struct MeasuredStore {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The address for other processes and for statements of the benchmarks, if it is a database.
    pub address: Option<Address>,
    /// A throw-away server; it ends with this value.
    server: Option<Postgres>,
}

impl MeasuredStore {
    /// A store in memory.
    pub fn memory() -> Self {
        Self { store: Arc::new(MemoryStore::new()), address: None, server: None }
    }

    /// A store at that address. If its URL is empty, on a throw-away server with the default settings of
    /// its version, whose commits wait for the disk.
    ///
    /// # Errors
    /// If there is no server, or it cannot be reached.
    pub async fn at(address: &Address) -> Result<Self, Failure> {
        let (mut address, mut server) = (address.clone(), None);
        if address.url.is_empty() {
            let started = Postgres::builder().durable().start()?;
            address.url = started.url();
            warm_up(&address.url).await?;
            server = Some(started);
        }
        Ok(Self { store: address.open().await?, address: Some(address), server })
    }

    /// The log of a throw-away server.
    pub fn server_log(&self) -> Option<String> {
        self.server.as_ref().map(Postgres::log)
    }
}

/// Leaves a new server with as many WAL segments as one that has run for a while. Otherwise it would create them during
/// the measurement, and flush each of them, every 16 MiB.
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
