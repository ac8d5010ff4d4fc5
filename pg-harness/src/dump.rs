//! A database as a file that another server can restore. It must not know what is stored in it.

use std::path::Path;

use crate::database::Database;
use crate::error::Error;
use crate::server::{Postgres, run};

impl Postgres {
    /// Writes one of this server's databases to a file with `pg_dump`, which takes further `arguments` such as
    /// `--schema-only`.
    ///
    /// The server's account writes the file. It may write to [`scratch_dir`](Self::scratch_dir).
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not run, or the file cannot be written.
    pub fn dump(&self, database: &Database, arguments: &[&str], file: &Path) -> Result<(), Error> {
        let mut dump = self.program("pg_dump");
        dump.arg("--format=custom").args(arguments).arg("--file").arg(file);
        run(dump.arg("--dbname").arg(database.url()))
    }

    /// Restores a file that [`dump`](Self::dump) wrote, on this server or another, into one of this server's databases.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or any part of it cannot be restored.
    pub fn restore_dump(&self, file: &Path, database: &Database) -> Result<(), Error> {
        let mut restore = self.program("pg_restore");
        run(restore.arg("--exit-on-error").arg("--dbname").arg(database.url()).arg(file))
    }
}
