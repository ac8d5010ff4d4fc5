//! The server that all tests of a process share. It must not be stopped, killed or restored.

use std::env;
use std::sync::OnceLock;

use crate::server::Postgres;
use crate::{DATABASE_URL_VARIABLE, Database, Error};

/// A server on which every test gets a database of its own.
#[derive(Debug)]
pub struct Shared {
    url: String,
    /// Held so that the server lives for as long as the process. Statics are never dropped: it is
    /// the supervisor that stops it.
    _own: Option<Postgres>,
}

impl Shared {
    /// The server's URL, without a database of the caller's own.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates a fresh database.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or refuses.
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
    /// The server that all tests of this process share: the one that [`DATABASE_URL_VARIABLE`]
    /// names, or one that is started at the first call.
    ///
    /// # Panics
    ///
    /// If there is no server and none can be started: a test that needs one cannot go on, and the
    /// message says what to do.
    pub fn shared() -> &'static Shared {
        static SHARED: OnceLock<Result<Shared, Error>> = OnceLock::new();
        match SHARED.get_or_init(Shared::get) {
            Ok(shared) => shared,
            Err(error) => panic!("no PostgreSQL for this test: {error}"),
        }
    }
}
