//! A database as a file, to be restored on another server. It must not know what is stored in it.

use std::path::Path;

use crate::server::run;
use crate::{Database, Error, Postgres};

impl Postgres {
    /// Writes one of this server's databases into a file, as `pg_dump` does for moving it elsewhere. Further
    /// arguments are its own, such as `--schema-only`.
    ///
    /// It is the server's account that writes the file: [`scratch_dir`](Self::scratch_dir) is a place where it may.
    ///
    /// # Errors
    ///
    /// If the server does not run, or the file cannot be written.
    pub fn dump(&self, database: &Database, arguments: &[&str], file: &Path) -> Result<(), Error> {
        let mut dump = self.program("pg_dump");
        dump.arg("--format=custom").args(arguments).arg("--file").arg(file);
        run(dump.arg("--dbname").arg(database.url()))
    }

    /// Restores what [`dump`](Self::dump) wrote, of this server or another one, into one of this server's databases.
    ///
    /// # Errors
    ///
    /// If anything in it cannot be restored, or the file cannot be read.
    pub fn restore_dump(&self, file: &Path, database: &Database) -> Result<(), Error> {
        let mut restore = self.program("pg_restore");
        run(restore.arg("--exit-on-error").arg("--dbname").arg(database.url()).arg(file))
    }
}
