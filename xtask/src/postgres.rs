//! Finds or installs the PostgreSQL and the PgBouncer of the tests. It must not know what the tests do with them.

use std::any::Any;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use pgworkflows_pg_harness::{
    DATABASE_URL_VARIABLE, Installation, POSTGRES_BIN_VARIABLE, PgBouncer, Postgres,
};

use crate::command::{self, Failure, cargo};

/// What a person can do if nothing was found and nothing may be installed.
const WHAT_TO_DO: &str = "\
there is no PostgreSQL for the tests. Do one of these:
  - start a container engine that this user may use: Docker, or Podman with its `docker` command and DOCKER_HOST;
  - install PostgreSQL 14 or newer with its server programs (Debian: `apt-get install postgresql`), and
    if they are in an unusual place, name their directory in PGWORKFLOWS_POSTGRES_BIN;
  - name a server that is running, and whose user may create databases, in
    PGWORKFLOWS_TEST_DATABASE_URL (tests that crash a server start their own, and still need the programs).";

/// A server for the tests. If it was started here, it stops when this value is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    /// Where it comes from, for people.
    pub(crate) origin: String,
    _running: Option<Box<dyn Any>>,
}

/// In this order: a given URL, a container engine, the machine's own programs, Debian's package.
pub(crate) fn find_or_get() -> Result<Server, Failure> {
    if let Some(url) = env::var(DATABASE_URL_VARIABLE).ok().filter(|url| !url.is_empty()) {
        get_programs_if_missing();
        let origin = format!("the one that {DATABASE_URL_VARIABLE} names");
        return Ok(Server { url, origin, _running: None });
    }
    if is_container_engine_there() {
        match Container::start() {
            Ok((container, url)) => {
                get_programs_if_missing();
                let origin = "in a container".to_owned();
                return Ok(Server { url, origin, _running: Some(Box::new(container)) });
            }
            Err(failure) => eprintln!("     a container engine answers, but gives no server: {failure}"),
        }
    }
    let installation = Installation::find().or_else(|_| install_debian_package())?;
    let postgres = Postgres::start().map_err(|error| Failure::new(error.to_string()))?;
    let origin = format!("this machine's own, in {}", installation.programs().display());
    Ok(Server { url: postgres.url(), origin, _running: Some(Box::new(postgres)) })
}

/// Tests that crash or restore a server start their own, which needs the programs.
fn get_programs_if_missing() {
    if Installation::find().is_err() && install_debian_package().is_err() {
        eprintln!(
            "     note: this machine has no PostgreSQL server programs; tests that start a server of \
             their own will fail"
        );
    }
}

/// Finds or installs PgBouncer. Without it, the tests that need it say so, and fail in continuous integration.
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
        // A wrong directory is reported rather than worked around.
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

/// Whether the Docker client, or Podman's in its place, reaches an engine. Only then is testcontainers worth building.
fn is_container_engine_there() -> bool {
    let mut version = Command::new("docker");
    version.arg("version");
    command::output(version).is_ok()
}

/// The harness's program that runs a container for as long as its standard input is open. A separate process needs
/// testcontainers only where there is an engine, and removes the container even if this process is killed.
struct Container(Child);

impl Container {
    fn start() -> Result<(Self, String), Failure> {
        eprintln!("     a container engine answers: starting PostgreSQL there");
        let mut run = cargo(["run", "--quiet", "--package", "pgworkflows-pg-harness"]);
        run.args(["--no-default-features", "--features", "containers", "--bin", "pg-container"]);
        let child = run
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(error.to_string()))?;
        let mut container = Self(child);
        let mut url = String::new();
        if let Some(output) = container.0.stdout.take() {
            // After an error the URL is empty, as after the end of the program.
            let _ = BufReader::new(output).read_line(&mut url);
        }
        match url.trim() {
            "" => Err(Failure::new("its program ended; its messages are above")),
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
