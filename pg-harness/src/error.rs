//! What can go wrong while a server is found, started or used. It must not retry.

use std::fmt;
use std::path::Path;

/// Why there is no server or database, for the person who reads a failed test: it names the thing and what to do.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// A program could not be run or did not succeed.
    pub(crate) fn program(command: impl fmt::Display, outcome: impl fmt::Display) -> Self {
        Self(format!("`{command}` failed: {outcome}"))
    }

    pub(crate) fn no_port() -> Self {
        Self::new("no free TCP port for a PostgreSQL server on 127.0.0.1")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Adds the path to an error of the file system, which does not name it.
pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error(format!("{}: {error}", path.display()))
}
