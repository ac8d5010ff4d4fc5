//! Where the server's programs are. It must not start a server.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::error::Error;

/// The environment variable that names a running server. Its user must be allowed to create databases.
/// [`Postgres::shared`](crate::Postgres::shared) creates the tests' databases there and drops them afterwards; nothing
/// else on that server is touched.
pub const DATABASE_URL_VARIABLE: &str = "PGWORKFLOWS_TEST_DATABASE_URL";

/// The environment variable that names the directory of the server's programs. If it is set, no other place is
/// searched.
pub const POSTGRES_BIN_VARIABLE: &str = "PGWORKFLOWS_POSTGRES_BIN";

/// Debian keeps each version's programs below this directory, outside of `PATH`.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";

/// The programs that a directory must contain.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// The server's programs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    programs: PathBuf,
}

impl Installation {
    /// Finds the server's programs: in the directory that [`POSTGRES_BIN_VARIABLE`] names, else in the newest of
    /// Debian's versions, else where `pg_config` says, else in `PATH`.
    ///
    /// # Errors
    ///
    /// Returns an error that names all of these places if the programs are in none of them.
    pub fn find() -> Result<Self, Error> {
        let mut candidates = Vec::new();
        if let Some(given) = env::var_os(POSTGRES_BIN_VARIABLE) {
            candidates.push(PathBuf::from(given));
        } else {
            candidates.extend(versions_newest_first(Path::new(DEBIAN_VERSIONS)));
            candidates.extend(named_by_pg_config());
            candidates.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        }
        first_complete(&candidates)
    }

    /// The directory that contains `initdb`, `pg_ctl` and `postgres`.
    pub fn programs(&self) -> &Path {
        &self.programs
    }
}

fn first_complete(candidates: &[PathBuf]) -> Result<Installation, Error> {
    let complete = |directory: &&PathBuf| PROGRAMS.iter().all(|p| directory.join(p).is_file());
    match candidates.iter().find(complete) {
        Some(programs) => Ok(Installation { programs: programs.clone() }),
        None => {
            let looked_in: Vec<_> = candidates.iter().map(|c| c.to_string_lossy()).collect();
            Err(Error::new(format!(
                "no PostgreSQL server programs (initdb, pg_ctl, postgres) in any of: {}. Install PostgreSQL 14 or \
                 newer, or name the directory of its programs in {POSTGRES_BIN_VARIABLE}. Tests that only need a \
                 database also accept a running server's URL in {DATABASE_URL_VARIABLE}.",
                looked_in.join(", ")
            )))
        }
    }
}

/// The `bin` directory of each version in a directory, the newest first. Versions are compared as numbers: 9.6 is older
/// than 15.
fn versions_newest_first(directory: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<(Vec<u32>, PathBuf)> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((version(&entry.file_name())?, entry.path().join("bin"))))
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

fn version(name: &OsStr) -> Option<Vec<u32>> {
    name.to_str()?.split('.').map(|part| part.parse().ok()).collect()
}

fn named_by_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let directory = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(directory.trim()))
}

#[cfg(test)]
mod tests {
    use super::{first_complete, versions_newest_first};
    use std::fs;
    use std::path::PathBuf;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("pgworkflows-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn newest_version_comes_first_and_other_directories_are_skipped() {
        let versions = directory("versions");
        for name in ["9.6", "15", "17", "common"] {
            fs::create_dir_all(versions.join(name).join("bin")).unwrap();
        }

        let found = versions_newest_first(&versions);

        fs::remove_dir_all(&versions).unwrap();
        let expected = ["17", "15", "9.6"].map(|v| versions.join(v).join("bin"));
        assert_eq!(found, expected);
    }

    #[test]
    fn directory_without_all_server_programs_is_refused() {
        let client = directory("client");
        fs::write(client.join("pg_ctl"), "").unwrap();

        let found = first_complete(std::slice::from_ref(&client));

        fs::remove_dir_all(&client).unwrap();
        let error = found.unwrap_err().to_string();
        assert!(
            error.contains("no PostgreSQL server programs") && error.contains(&*client.to_string_lossy()),
            "{error}"
        );
    }
}
