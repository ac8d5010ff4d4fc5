//! Opens the store that the arguments name. It must not know what a command asks of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pgworkflows::{AnyStore, Client, Error, PostgresStore, SqliteStore};

use crate::args::Global;
use crate::failure::{Code, Failure};
use crate::progress;

/// How long a server may take to accept a connection: a network may drop packets silently.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A program that asks one thing after the other needs few connections.
const CONNECTIONS: u32 = 2;

/// The addresses that are understood, for errors.
const ADDRESSES: &str = "`postgres://user:password@host:5432/database`";

/// A store, and a client of it.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) store: AnyStore,
    /// If it is a PostgreSQL.
    pub(crate) postgres: Option<PostgresStore>,
    /// Where the runs are, in words without a password.
    pub(crate) place: String,
}

impl Connected {
    /// The time by the store's clock, by which all times of runs are.
    pub(crate) async fn now(&self) -> Result<DateTime<Utc>, Failure> {
        // Without a queue there is no run, and so no time to compare with.
        Ok(self.client.now().await?.unwrap_or_else(Utc::now))
    }
}

/// Whether a schema that is not up to date is migrated, or refused. Only `migrate` changes a schema: a look at runs
/// must not change the tables under workers of an older build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Migrate {
    Yes,
    No,
}

impl Global {
    /// The address, which has to be there.
    pub(crate) fn address(&self) -> Result<String, Failure> {
        self.url().ok_or_else(|| {
            Failure::usage(format!(
                "there is no address of a store: set PGWORKFLOWS_URL or DATABASE_URL to {ADDRESSES}, or pass it with --url"
            ))
        })
    }

    /// Connects without a change of the schema.
    pub(crate) async fn connect(&self) -> Result<Connected, Failure> {
        self.open(Migrate::No).await
    }

    /// Connects, within a time.
    pub(crate) async fn open(&self, migrate: Migrate) -> Result<Connected, Failure> {
        let (url, schema) = (self.address()?, self.schema());
        // Only a name that no schema can have is refused here. Of the scripts for a schema, this one is short.
        PostgresStore::roles_sql(&schema).map_err(|error| Failure::usage(error.to_string()))?;
        let opened =
            progress::shown("connecting", tokio::time::timeout(CONNECT_TIMEOUT, self.store(&url, migrate)));
        let opened = opened.await.map_err(|_| {
            let advice = match file(&url) {
                Some(path) => {
                    format!("a process that has `{path}` open may be stopped: end it, or let it go on")
                }
                None => "check the address and the network".to_owned(),
            };
            let message = format!("the store did not answer within {CONNECT_TIMEOUT:?}: {advice}");
            Failure::new(Code::Unavailable, "unavailable", message)
        })?;
        let (store, postgres) = opened.map_err(|failure| {
            // A server that refuses says what to do; one that does not answer cannot.
            if failure.is_unavailable() && is_postgres(&url) {
                failure.and("check the address, and whether the server runs")
            } else {
                failure
            }
        })?;
        let place = match (&postgres, file(&url)) {
            (Some(_), _) => format!("schema `{schema}`"),
            (None, Some(file)) => format!("the file `{file}`"),
            (None, None) => "this store".to_owned(),
        };
        Ok(Connected { client: Client::new(store.clone()), store, postgres, place })
    }

    async fn store(&self, url: &str, migrate: Migrate) -> Result<(AnyStore, Option<PostgresStore>), Failure> {
        if let Some(store) = &self.store {
            return Ok((store.clone(), None));
        }
        if let Some(path) = file_at(url) {
            return Ok((open_file(path, migrate).await?, None));
        }
        if !is_postgres(url) {
            return Ok((pgworkflows::connect(url).await.map_err(misaddressed)?, None));
        }
        let options = PostgresStore::builder(url).schema(&self.schema()).pool_size(CONNECTIONS);
        let store = options.migrate(migrate == Migrate::Yes).connect().await.map_err(Error::from)?;
        Ok((Arc::new(store.clone()), Some(store)))
    }
}

/// Whether an address leads to a PostgreSQL.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

/// The path of the SQLite file at an address, if the path is that of a file.
pub(crate) fn file_at(url: &str) -> Option<&str> {
    file(url).filter(|path| may_be_a_file(path))
}

/// The path in the address of a SQLite file.
fn file(url: &str) -> Option<&str> {
    let path = url.strip_prefix("sqlite:")?;
    Some(path.strip_prefix("//").unwrap_or(path))
}

/// Whether a path leads to a file. Others are mistakes in the address, which are told where all addresses are understood.
fn may_be_a_file(path: &str) -> bool {
    !matches!(path, "" | ":memory:") && !path.contains('?')
}

/// Opens a SQLite file. Without migrations it has to be there: a mistyped path does not become an empty store.
async fn open_file(path: &str, migrate: Migrate) -> Result<AnyStore, Failure> {
    if migrate == Migrate::No && !Path::new(path).exists() {
        let message = format!(
            "there is no file `{path}`: correct the path, or create a store there with `pgworkflows migrate`"
        );
        return Err(Failure::new(Code::NotFound, "file", message));
    }
    let store = SqliteStore::builder(path).migrate(migrate == Migrate::Yes).open().await;
    Ok(Arc::new(store.map_err(Error::from)?))
}

/// An address that no store understands is a mistake in the arguments; one that is refused by its server is not.
fn misaddressed(error: Error) -> Failure {
    if error.is_misconfigured() { Failure::usage(error.to_string()) } else { error.into() }
}
