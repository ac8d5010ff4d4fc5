//! A server that belongs to one value, and is removed with it. It must not know what is stored in it.

#[cfg(feature = "databases")]
mod standby;

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::account::Account;
use crate::error::{Error, at};
use crate::installation::Installation;
use crate::supervisor::Supervisor;

/// Ports below the range that systems use for outgoing connections: from that range, any client on this machine could
/// take the port of a server that is about to restart.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
pub(crate) const PORT_TRIES: u32 = 50;
const CLASH_PAUSE: Duration = Duration::from_millis(100);

/// The settings of every server that differ from PostgreSQL's defaults.
const SETTINGS: [(&str, &str); 3] =
    [("listen_addresses", "127.0.0.1"), ("unix_socket_directories", ""), ("max_connections", "200")];

/// A test's data need not survive a crash of the machine, so commits need not wait for the disk.
const FAST_SETTINGS: [(&str, &str); 2] = [("fsync", "off"), ("full_page_writes", "off")];

/// A PostgreSQL server that belongs to this value. It listens on loopback only and trusts every client there. It is
/// stopped and removed when the value is dropped or the process ends, even by `SIGKILL`.
#[derive(Debug)]
pub struct Postgres {
    /// The first field, so that the server is stopped before anything else is dropped.
    _supervisor: Supervisor,
    installation: Installation,
    account: Account,
    directory: PathBuf,
    port: u16,
}

/// Options of a server.
#[derive(Debug, Default, Clone)]
pub struct Builder {
    durable: bool,
    settings: Vec<(String, String)>,
    files: Vec<(String, String)>,
    parent_dir: Option<PathBuf>,
}

impl Builder {
    /// Makes every commit wait for the disk (`fsync` on), as on users' servers. For benchmarks.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Sets a parameter of `postgresql.conf`, e.g. `default_transaction_isolation` to `serializable`. If a parameter is
    /// set twice, the last value counts.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Puts a file into the directory of the server's data, in place of one of that name, e.g. `pg_hba.conf`, or the key of a
    /// certificate. Only the server may read it.
    #[must_use]
    pub fn data_file(mut self, name: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }

    /// Creates the server's directory, and those of its standbys, in this directory instead of the system's directory for
    /// temporary files, e.g. to give the server a disk of its own.
    #[must_use]
    pub fn parent_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.parent_dir = Some(directory.into());
        self
    }

    /// Starts the server and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// Returns an error if this machine has no server programs, or they fail.
    pub fn start(self) -> Result<Postgres, Error> {
        let installation = Installation::find()?;
        let parent = self.parent_dir.clone().unwrap_or_else(std::env::temp_dir);
        let mut server = Postgres::in_a_fresh_directory(installation, Account::for_server()?, &parent)?;
        server.initialize()?;
        server.configure(&self)?;
        server.write_files(&self.files)?;
        server.launch_on_a_free_port()?;
        Ok(server)
    }
}

/// The result of an attempt to launch the server.
#[derive(Debug, PartialEq, Eq)]
enum Launch {
    Running,
    /// Another process listens on its port.
    PortTaken,
}

impl Postgres {
    /// Starts a server for tests, whose commits do not wait for the disk.
    ///
    /// # Errors
    ///
    /// See [`Builder::start`].
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Returns a builder that starts from the settings for tests.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The URL of the server's database `postgres`, for its superuser. It never changes.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The port on 127.0.0.1, e.g. for a proxy in front of the server. It never changes.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the server's data.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// A directory for copies of the data. It is removed with the server.
    pub fn scratch_dir(&self) -> &Path {
        &self.directory
    }

    /// The server's log so far; empty if it cannot be read.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the server is running: false after [`stop`](Self::stop) and [`kill`](Self::kill).
    pub fn is_running(&self) -> bool {
        let mut status = self.program("pg_ctl");
        status.arg("status").arg("-D").arg(self.data_dir()).stdout(Stdio::null());
        status.status().is_ok_and(|status| status.success())
    }

    /// Stops the server gracefully: open transactions are rolled back, and a checkpoint is written. Does nothing if the
    /// server is not running.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not stop within a minute.
    pub fn stop(&self) -> Result<(), Error> {
        self.stop_in_mode("fast")
    }

    /// Ends the server as a crash would: all of its processes at once, without a checkpoint. At its next start it
    /// recovers from its write-ahead log, so committed data stays.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not end within a minute.
    pub fn kill(&self) -> Result<(), Error> {
        self.stop_in_mode("immediate")
    }

    /// Starts the server again, on the same port with the same data. A running server is stopped first.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not start, or its port was taken in the meantime.
    pub fn restart(&self) -> Result<(), Error> {
        self.stop()?;
        for _ in 0..PORT_TRIES {
            if self.launch()? == Launch::Running {
                return Ok(());
            }
            thread::sleep(CLASH_PAUSE);
        }
        Err(Error::no_port())
    }

    /// Copies the data to a directory that must not exist yet. A running server is stopped first and started again
    /// afterwards.
    ///
    /// # Errors
    ///
    /// Returns an error if the server cannot be stopped or restarted, or the copy fails.
    pub fn copy_data_dir_to(&self, copy: &Path) -> Result<(), Error> {
        self.while_stopped(|| copy_directory(&self.data_dir(), copy))
    }

    /// Restores a copy made by [`copy_data_dir_to`](Self::copy_data_dir_to); everything committed since then is lost.
    /// The copy can be restored again. A running server is stopped first and started again afterwards.
    ///
    /// # Errors
    ///
    /// Returns an error if the server cannot be stopped or restarted, or the copy cannot be put back.
    pub fn restore_from(&self, copy: &Path) -> Result<(), Error> {
        self.while_stopped(|| {
            let data = self.data_dir();
            fs::metadata(copy).map_err(at(copy))?;
            fs::remove_dir_all(&data).map_err(at(&data))?;
            copy_directory(copy, &data)
        })
    }

    fn while_stopped(&self, work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let was_running = self.is_running();
        self.stop()?;
        work()?;
        if was_running { self.restart() } else { Ok(()) }
    }

    /// A server without data.
    fn in_a_fresh_directory(
        installation: Installation,
        account: Account,
        parent: &Path,
    ) -> Result<Self, Error> {
        let directory = fresh_directory(account, parent)?;
        let supervisor = Supervisor::watch(&installation, account, &directory)?;
        Ok(Self { _supervisor: supervisor, installation, account, directory, port: 0 })
    }

    fn initialize(&self) -> Result<(), Error> {
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(self.data_dir()).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        run(&mut initdb)
    }

    fn configure(&self, builder: &Builder) -> Result<(), Error> {
        let fast: &[_] = if builder.durable { &[] } else { &FAST_SETTINGS };
        let given = builder.settings.iter().map(|(name, value)| (&**name, &**value));
        self.append_settings(SETTINGS.into_iter().chain(fast.iter().copied()).chain(given))
    }

    fn append_settings<'a>(&self, settings: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), Error> {
        let path = self.data_dir().join("postgresql.conf");
        let mut text = String::from("\n");
        for (name, value) in settings {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        let mut file = OpenOptions::new().append(true).open(&path).map_err(at(&path))?;
        file.write_all(text.as_bytes()).map_err(at(&path))
    }

    fn write_files(&self, files: &[(String, String)]) -> Result<(), Error> {
        for (name, content) in files {
            let path = self.data_dir().join(name);
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(content.as_bytes())).map_err(at(&path))?;
            self.account.give(&path)?;
        }
        Ok(())
    }

    fn launch_on_a_free_port(&mut self) -> Result<(), Error> {
        for _ in 0..PORT_TRIES {
            self.port = free_port()?;
            if self.launch()? == Launch::Running {
                return Ok(());
            }
        }
        Err(Error::no_port())
    }

    fn launch(&self) -> Result<Launch, Error> {
        let log_before = self.log().len();
        let mut start = self.program("pg_ctl");
        start
            .args(["start", "--wait", "--timeout=60", "--silent", "-D"])
            .arg(self.data_dir())
            .arg("-l")
            .arg(self.log_file())
            .arg("-o")
            .arg(format!("-p {}", self.port));
        let Err(failure) = run(&mut start) else {
            return Ok(Launch::Running);
        };
        let log = self.log();
        let new = log.get(log_before..).unwrap_or_default();
        if new.contains("Address already in use") {
            return Ok(Launch::PortTaken);
        }
        Err(Error::new(format!("{failure}\n{new}")))
    }

    fn stop_in_mode(&self, mode: &str) -> Result<(), Error> {
        if !self.is_running() {
            return Ok(());
        }
        let mut stop = self.program("pg_ctl");
        stop.args(["stop", "--wait", "--timeout=60", "--silent", "-m", mode, "-D"]).arg(self.data_dir());
        run(&mut stop)
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// One of the server's programs, under its account, out of reach of the terminal's signals, and without the
    /// environment variables that configure PostgreSQL clients.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.installation.programs().join(name));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PG") {
                command.env_remove(variable);
            }
        }
        // Messages are in English, because `launch` searches the log for one.
        command.env("LC_ALL", "C").current_dir(&self.directory).process_group(0);
        self.account.run_as(&mut command);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The supervisor also removes the directory, but cannot remove files of root.
        let _ = self.stop_in_mode("immediate");
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn fresh_directory(account: Account, parent: &Path) -> Result<PathBuf, Error> {
    let directory = parent.join(format!("pgworkflows-{}-{:016x}", std::process::id(), random()));
    DirBuilder::new().mode(0o700).create(&directory).map_err(at(&directory))?;
    account.give(&directory)?;
    Ok(directory)
}

pub(crate) fn free_port() -> Result<u16, Error> {
    let size = u64::from(PORTS.end - PORTS.start);
    (0..PORT_TRIES)
        .map(|_| PORTS.start + u16::try_from(random() % size).unwrap_or_default())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(Error::no_port)
}

/// A random number, from the standard library's only source.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Keeps owners, modes and times, because PostgreSQL refuses data that other users can read.
fn copy_directory(from: &Path, to: &Path) -> Result<(), Error> {
    if to.exists() {
        return Err(at(to)(std::io::ErrorKind::AlreadyExists.into()));
    }
    run(Command::new("cp").arg("-a").arg(from).arg(to))
}

pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let outcome = match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            format!("{}\n{}", output.status, String::from_utf8_lossy(&text))
        }
        Err(error) => error.to_string(),
    };
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    Err(Error::program(words.join(" "), outcome))
}
