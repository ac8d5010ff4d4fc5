//! What can go wrong while a server is found, started or used. It must not know how to retry.

use std::fmt;
use std::path::PathBuf;

/// Why a server or a database could not be had.
///
/// Its text is written for the person who reads a failed test: it names the thing and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No server programs were found in any of the places that were looked at.
    NoInstallation {
        /// Where they were looked for, in this order.
        looked_in: Vec<String>,
    },
    /// There is no PgBouncer on this machine.
    NoPgBouncer,
    /// A program could not be run or did not succeed.
    Program {
        /// The program and its arguments.
        command: String,
        /// Its exit status, or why it did not start, and what it printed.
        outcome: String,
    },
    /// A file or directory could not be read or written.
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The account that the server has to run under does not exist.
    NoAccount,
    /// No free port was found, or the server's own one was taken while it was down.
    NoPort,
    /// A statement could not be run.
    #[cfg(feature = "databases")]
    Sql {
        /// The server, without its password.
        server: String,
        /// The statement.
        statement: String,
        /// What the driver said.
        source: sqlx::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInstallation { looked_in } => write!(
                f,
                "no PostgreSQL server programs (initdb, pg_ctl, postgres) in any of: {}. Install \
                 PostgreSQL 14 or newer, or name the directory of its programs in {}. Tests that \
                 only need a database also accept a running server's URL in {}.",
                looked_in.join(", "),
                crate::POSTGRES_BIN_VARIABLE,
                crate::DATABASE_URL_VARIABLE,
            ),
            Self::NoPgBouncer => write!(
                f,
                "there is no `pgbouncer` in PATH nor in /usr/sbin. Install it (Debian: `apt-get install \
                 pgbouncer`), or name the program in {}",
                crate::PGBOUNCER_VARIABLE,
            ),
            Self::Program { command, outcome } => write!(f, "`{command}` failed: {outcome}"),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NoAccount => write!(
                f,
                "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor a \
                 user `nobody` to run it as"
            ),
            Self::NoPort => write!(f, "no free TCP port for a PostgreSQL server on 127.0.0.1"),
            #[cfg(feature = "databases")]
            Self::Sql { server, statement, source } => {
                write!(f, "`{statement}` on {server}: {source}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            #[cfg(feature = "databases")]
            Self::Sql { source, .. } => Some(source),
            Self::NoInstallation { .. }
            | Self::NoPgBouncer
            | Self::Program { .. }
            | Self::NoAccount
            | Self::NoPort => None,
        }
    }
}

/// Attaches the path to an error of the file system, which does not name it by itself.
pub(crate) fn at(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}
