//! The account under which the server runs. It must not know what it runs.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, at};

/// The owner of the server's files and processes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Account {
    /// The caller, who is not root.
    Caller,
    /// Another user, because the caller is root, and PostgreSQL refuses to run as root.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// The account of the caller. Root uses `postgres` instead, or `nobody` where there is no `postgres`.
    pub(crate) fn for_server() -> Result<Self, Error> {
        if id(&["-u"]) != Some(0) {
            return Ok(Self::Caller);
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Some(Self::Other { uid: id(&["-u", name])?, gid: id(&["-g", name])? }))
            .ok_or_else(|| {
                Error::new(
                    "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor a user `nobody` to \
                     run it as",
                )
            })
    }

    /// Makes a command run under this account.
    pub(crate) fn run_as(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }

    /// Gives a file or directory to this account.
    pub(crate) fn give(self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Caller => Ok(()),
            Self::Other { uid, gid } => {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(at(path))
            }
        }
    }
}

/// Asks the program `id`, because the standard library has no safe function for user ids.
fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
