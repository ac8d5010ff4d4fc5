//! A fresh database that is dropped with its value. It must not know what is stored in it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::server::{Postgres, random};
use crate::sql;

/// A database that was created for one test. Dropping this value closes all connections to the database and drops it,
/// so keep it as long as the database is used.
#[derive(Debug)]
#[must_use = "the database is dropped together with this value"]
pub struct Database {
    name: String,
    url: String,
    server_url: String,
}

impl Database {
    /// Creates a database on the server that `server_url` reaches.
    pub(crate) fn create(server_url: &str) -> Result<Self, Error> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        // Several processes may use one server, and process ids are reused.
        let random = random() & 0xffff_ffff;
        let name = format!("pgworkflows_{}_{number}_{random:08x}", std::process::id());
        // A template that has connections cannot be copied; template0 accepts none.
        sql::execute(server_url, &format!("CREATE DATABASE {name} TEMPLATE template0"))?;
        let url = with_database(server_url, &name);
        Ok(Self { name, url, server_url: server_url.to_owned() })
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL to connect to.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test may have stopped the server; then the database is removed with the server.
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = sql::execute(&self.server_url, &statement);
    }
}

impl Postgres {
    /// Creates a fresh database on this server.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not run, or refuses.
    pub fn create_database(&self) -> Result<Database, Error> {
        Database::create(&self.url())
    }
}

/// The URL, with another database than it may name.
fn with_database(url: &str, name: &str) -> String {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let (base, parameters) = match url.find('?') {
        Some(at) => url.split_at(at),
        None => (url, ""),
    };
    let end = base.get(authority..).and_then(|rest| rest.find('/')).map(|at| authority + at);
    format!("{}/{name}{parameters}", &base[..end.unwrap_or(base.len())])
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn database_is_replaced_in_every_form_of_url() {
        for (url, expected) in [
            ("postgres://h", "postgres://h/x"),
            ("postgres://h/", "postgres://h/x"),
            ("postgres://u:p@h:1/old", "postgres://u:p@h:1/x"),
            ("postgresql://h/old?sslmode=disable", "postgresql://h/x?sslmode=disable"),
            ("postgres://h?host=/run/pg", "postgres://h/x?host=/run/pg"),
        ] {
            assert_eq!(with_database(url, "x"), expected);
        }
    }
}
