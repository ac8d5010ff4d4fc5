//! A PgBouncer in front of a server. It belongs to one value, and is removed with it. It must not know what is sent
//! through it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::account::Account;
use crate::error::{Error, at};
use crate::server::{PORT_TRIES, Postgres, free_port, fresh_directory};
use crate::supervisor::Supervisor;

/// The environment variable that names the program, if it is in no usual place.
pub const PGBOUNCER_VARIABLE: &str = "PGWORKFLOWS_PGBOUNCER";

const NO_PGBOUNCER: &str = "\
there is no `pgbouncer` in PATH nor in /usr/sbin. Install it (Debian: `apt-get install pgbouncer`), or name the program \
in PGWORKFLOWS_PGBOUNCER";

/// Debian has the program outside of the `PATH` of users other than root.
const DEBIAN_PROGRAM: &str = "/usr/sbin/pgbouncer";

/// How long it may take to start: it reads one file, but the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a client keeps one of the pool's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// As long as it is connected.
    Session,
    /// Until the end of each transaction.
    Transaction,
}

/// A PgBouncer that belongs to this value. It listens on loopback only, admits the user `postgres`, and ends when the
/// value is dropped or the process ends.
#[derive(Debug)]
pub struct PgBouncer {
    _supervisor: Supervisor,
    directory: PathBuf,
    port: u16,
}

impl PgBouncer {
    /// The path of the program, if this machine has it.
    pub fn program() -> Option<PathBuf> {
        if let Some(given) = env::var_os(PGBOUNCER_VARIABLE) {
            return Some(PathBuf::from(given)).filter(|program| program.is_file());
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let named = env::split_paths(&path).map(|directory| directory.join("pgbouncer"));
        named.chain([PathBuf::from(DEBIAN_PROGRAM)]).find(|program| program.is_file())
    }

    /// Whether a test that needs PgBouncer can run. If not, says so on standard error, which the test harness does not
    /// capture.
    ///
    /// # Panics
    ///
    /// Panics without one in continuous integration (`CI` is set), where it can be installed: no test may be skipped
    /// silently there.
    pub fn is_here() -> bool {
        let here = Self::program().is_some();
        if !here {
            assert!(env::var_os("CI").is_none(), "{}", NO_PGBOUNCER);
            // Without standard error there is nothing else to do.
            let _ = writeln!(io::stderr(), "NOT TESTED: {}", NO_PGBOUNCER);
        }
        here
    }

    /// Starts a PgBouncer with at most `pool_size` connections per database to that server.
    ///
    /// # Errors
    ///
    /// Returns an error if this machine has no such program, or it does not start.
    pub fn start(server: &Postgres, mode: PoolMode, pool_size: u32) -> Result<Self, Error> {
        let program = Self::program().ok_or_else(|| Error::new(NO_PGBOUNCER))?;
        for _ in 0..PORT_TRIES {
            if let Some(pooler) = Self::launch(&program, server, mode, pool_size)? {
                return Ok(pooler);
            }
        }
        Err(Error::no_port())
    }

    /// The URL of one of the server's databases, through the pooler.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns `None` if another process listens on its port.
    fn launch(
        program: &Path,
        server: &Postgres,
        mode: PoolMode,
        pool_size: u32,
    ) -> Result<Option<Self>, Error> {
        let account = Account::for_server()?;
        let directory = fresh_directory(account, &std::env::temp_dir())?;
        let port = free_port()?;
        write(account, &directory.join("users.txt"), "\"postgres\" \"\"\n")?;
        let configuration = configuration(&directory, server.port(), port, mode, pool_size);
        write(account, &directory.join("pgbouncer.ini"), &configuration)?;
        let supervisor = Supervisor::run_pooler(program, account, &directory)?;
        let pooler = Self { _supervisor: supervisor, directory, port };
        let began = Instant::now();
        loop {
            let log = pooler.log();
            if log.contains("process up") {
                return Ok(Some(pooler));
            }
            if log.contains("cannot listen on") {
                return Ok(None);
            }
            if began.elapsed() > PATIENCE {
                return Err(Error::program(program.display(), log));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its log so far; empty if it cannot be read.
    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("pgbouncer.log")).unwrap_or_default()
    }
}

fn configuration(directory: &Path, server: u16, port: u16, mode: PoolMode, pool_size: u32) -> String {
    let directory = directory.display();
    let mode = match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
    };
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={server}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = {directory}/users.txt\n\
         logfile = {directory}/pgbouncer.log\n\
         pool_mode = {mode}\n\
         default_pool_size = {pool_size}\n"
    )
}

fn write(account: Account, path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(at(path))?;
    account.give(path)
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // The supervisor also removes the directory, but cannot remove files of root.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
