//! A fresh database that is dropped with its value. It must not know what is stored in it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::server::{Postgres, random};
use crate::{Error, sql};

/// A database that was created for one test.
///
/// Dropping it drops the database and cuts whoever is still connected, so keep it for as long as
/// anything uses it.
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
        // Several processes may use one server at a time, and process ids come round again.
        let random = random() & 0xffff_ffff;
        let name = format!("pgworkflows_{}_{number}_{random:08x}", std::process::id());
        // template0, since nobody can be connected to it: a template in use cannot be copied.
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
        // A test may have stopped the server by now, and takes the database with it in the end.
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = sql::execute(&self.server_url, &statement);
    }
}

impl Postgres {
    /// Creates a fresh database on this server.
    ///
    /// # Errors
    ///
    /// If the server does not run, or refuses.
    pub fn create_database(&self) -> Result<Database, Error> {
        Database::create(&self.url())
    }
}

/// The URL with another database in place of its own, if it names one.
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
    fn database_is_replaced_whatever_the_url_looks_like() {
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
