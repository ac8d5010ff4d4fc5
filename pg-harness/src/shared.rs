//! The server that all tests of a process share. It must not be stopped, killed or restored.

use std::env;
use std::sync::OnceLock;

use crate::database::Database;
use crate::error::Error;
use crate::installation::DATABASE_URL_VARIABLE;
use crate::server::Postgres;

/// A server on which every test gets a separate database.
#[derive(Debug)]
pub struct Shared {
    url: String,
    /// Keeps the server running as long as the process lives. Statics are never dropped, so the supervisor stops it.
    _own: Option<Postgres>,
}

impl Shared {
    /// The server's URL, with its default database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates a fresh database.
    ///
    /// # Errors
    ///
    /// Returns an error if the server cannot be reached, or refuses.
    pub fn create_database(&self) -> Result<Database, Error> {
        Database::create(&self.url)
    }

    fn get() -> Result<Self, Error> {
        match env::var(DATABASE_URL_VARIABLE) {
            Ok(url) if !url.is_empty() => Ok(Self { url, _own: None }),
            _ => {
                let own = Postgres::start()?;
                Ok(Self { url: own.url(), _own: Some(own) })
            }
        }
    }
}

impl Postgres {
    /// The server that all tests of this process share: the one that [`DATABASE_URL_VARIABLE`] names, or one that the
    /// first call starts.
    ///
    /// # Panics
    ///
    /// Panics if there is no server and none can be started. The message says what to do.
    pub fn shared() -> &'static Shared {
        static SHARED: OnceLock<Result<Shared, Error>> = OnceLock::new();
        match SHARED.get_or_init(Shared::get) {
            Ok(shared) => shared,
            Err(error) => panic!("no PostgreSQL for this test: {error}"),
        }
    }
}
