//! Finds or installs the PostgreSQL that the tests run on, and the PgBouncer that some of them put in front of it. It
//! must not know what the tests do with them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::{env, fmt};

use pgworkflows_pg_harness::{
    DATABASE_URL_VARIABLE, Engine, Installation, POSTGRES_BIN_VARIABLE, PgBouncer, Postgres,
};

use crate::command::{self, Failure, cargo};

/// What a person can do if nothing was found and nothing may be installed.
const WHAT_TO_DO: &str = "\
there is no PostgreSQL for the tests. Do one of these:
  - start a container engine (Docker, Podman) that this user may use;
  - install PostgreSQL 14 or newer with its server programs (Debian: `apt-get install postgresql`), and
    if they are in an unusual place, name their directory in PGWORKFLOWS_POSTGRES_BIN;
  - name a server that is running, and whose user may create databases, in
    PGWORKFLOWS_TEST_DATABASE_URL (tests that crash a server of their own still need the programs).";

/// A server for the time of the tests; stopped, if it was started here, when the value is dropped.
pub(crate) struct Server {
    url: String,
    source: Source,
}

/// Where a server comes from, with the value that keeps it alive.
enum Source {
    Given,
    Container { engine: Engine, _process: Container },
    Own { installation: Installation, installed: bool, _postgres: Box<Postgres> },
}

impl Server {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Given => write!(f, "PostgreSQL: the one that {DATABASE_URL_VARIABLE} names"),
            Source::Container { engine, .. } => {
                write!(f, "PostgreSQL: in a container of the engine at {}", engine.host())
            }
            Source::Own { installation, installed, .. } => {
                let whose = if *installed { "Debian's, just installed" } else { "this machine's own" };
                write!(f, "PostgreSQL: {whose}, in {}", installation.programs().display())
            }
        }
    }
}

/// In this order: a given URL, a container engine, the machine's own programs, Debian's package.
pub(crate) fn find_or_get() -> Result<Server, Failure> {
    if let Some(url) = env::var(DATABASE_URL_VARIABLE).ok().filter(|url| !url.is_empty()) {
        get_programs_if_missing();
        return Ok(Server { url, source: Source::Given });
    }
    if let Some(engine) = Engine::find() {
        match Container::start(&engine) {
            Ok((process, url)) => {
                get_programs_if_missing();
                return Ok(Server { url, source: Source::Container { engine, _process: process } });
            }
            Err(failure) => eprintln!("     a container engine answers, but gives no server: {failure}"),
        }
    }
    let (installation, installed) = match Installation::find() {
        Ok(installation) => (installation, false),
        Err(_) => (install_debian_package()?, true),
    };
    let postgres = Postgres::start().map_err(|error| Failure::new(error.to_string()))?;
    let url = postgres.url();
    let source = Source::Own { installation, installed, _postgres: Box::new(postgres) };
    Ok(Server { url, source })
}

/// Tests that crash or rewind a server start their own, for which a URL is no help.
fn get_programs_if_missing() {
    if Installation::find().is_err() && install_debian_package().is_err() {
        eprintln!(
            "     note: this machine has no PostgreSQL server programs; tests that crash a server of \
             their own will fail"
        );
    }
}

/// Finds or installs the PgBouncer that tests put in front of a server. Without it, those tests say so, and fail in
/// continuous integration.
pub(crate) fn find_or_get_pooler() -> Option<PathBuf> {
    if PgBouncer::program().is_none() && is_root() && is_there("apt-get") {
        eprintln!("     no PgBouncer here: installing Debian's package");
        if let Err(failure) = apt_install("pgbouncer") {
            eprintln!("     {failure}");
        }
    }
    PgBouncer::program()
}

fn install_debian_package() -> Result<Installation, Failure> {
    if env::var_os(POSTGRES_BIN_VARIABLE).is_some() {
        // A wrong directory is reported, not worked around.
        let missing = Installation::find().err().map(|error| error.to_string());
        return Err(Failure::new(missing.unwrap_or_default()));
    }
    if !is_root() || !is_there("apt-get") {
        return Err(Failure::new(WHAT_TO_DO));
    }
    eprintln!("     no PostgreSQL server programs here: installing Debian's package");
    apt_install("postgresql").map_err(|failure| Failure::new(format!("{failure}\n{WHAT_TO_DO}")))?;
    Installation::find().map_err(|error| Failure::new(format!("{error}\n{WHAT_TO_DO}")))
}

fn apt_install(package: &str) -> Result<(), Failure> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command::run(command)
    };
    apt(&["update", "--quiet"])?;
    apt(&["install", "--yes", "--quiet", "--no-install-recommends", package])
}

fn is_root() -> bool {
    let mut id = Command::new("id");
    id.arg("-u");
    command::output(id).is_ok_and(|uid| uid.trim() == "0")
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok()
}

/// The harness' program that runs a container for as long as its standard input is open.
///
/// It is a process of its own, so that testcontainers is only built where there is an engine, and so that the container
/// is removed even if this process is killed.
struct Container(Child);

impl Container {
    fn start(engine: &Engine) -> Result<(Self, String), Failure> {
        eprintln!("     a container engine answers at {}: starting PostgreSQL there", engine.host());
        let mut run = cargo(["run", "--quiet", "--package", "pgworkflows-pg-harness"]);
        run.args(["--no-default-features", "--features", "containers", "--bin", "pg-container"]);
        let child = run
            .env("DOCKER_HOST", engine.host())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(error.to_string()))?;
        let mut container = Self(child);
        let mut url = String::new();
        if let Some(output) = container.0.stdout.take() {
            // An error leaves the URL empty, as the end of the program does.
            let _ = BufReader::new(output).read_line(&mut url);
        }
        match url.trim() {
            "" => Err(Failure::new("its program ended; what it said is above")),
            url => Ok((container, url.to_owned())),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
