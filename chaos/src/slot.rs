//! A place for a process: its proxy, and the process that has the place now. It must not know why the process is disturbed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use pgworkflows_pg_harness::{Cut, Link, Proxy};
use pgworkflows_testkit::runtime::dice::Dice;
use tokio::process::{Child, Command};

use crate::process::{Group, Signal, send};

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Worker,
    Client,
}

/// Why the connections of a process are cut, and how often they were: by kind of statement.
#[derive(Debug)]
struct Cutter {
    dice: Dice,
    cuts: Option<Cuts>,
    made: BTreeMap<&'static str, u64>,
}

/// At which moments statements are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cuts {
    /// Before the server receives them.
    Before,
    /// After it received or answered them, and before the client has the answer.
    After,
}

/// How many in a thousand of the statements that commit something are cut, and how many of the others.
const CUT_PER_MILLE: [u64; 2] = [300, 50];

impl Cutter {
    fn decide(&mut self, statement: &str) -> Cut {
        let Some(cuts) = self.cuts else { return Cut::Pass };
        let kind = kind_of(statement);
        let per_mille = CUT_PER_MILLE[usize::from(kind == "another statement")];
        if !self.dice.chance(per_mille) {
            return Cut::Pass;
        }
        *self.made.entry(kind).or_default() += 1;
        match cuts {
            Cuts::Before => Cut::BeforeRequest,
            Cuts::After if self.dice.chance(500) => Cut::AfterRequest,
            Cuts::After => Cut::BeforeAnswer,
        }
    }
}

/// What a statement commits, for people.
fn kind_of(statement: &str) -> &'static str {
    let commits = [(".append(", "append"), (".submit(", "submission"), (".claim(", "claim")];
    match commits.iter().find(|(text, _)| statement.contains(text)) {
        Some((_, kind)) => kind,
        None if statement.eq_ignore_ascii_case("commit") => "COMMIT",
        None => "another statement",
    }
}

/// A place for a process.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) role: Role,
    pub(crate) name: String,
    proxy: Proxy,
    cutter: Arc<Mutex<Cutter>>,
    arguments: Vec<String>,
    log: PathBuf,
    /// `None` while no process is to be there. Whoever holds the lock disturbs the process.
    pub(crate) process: tokio::sync::Mutex<Option<Child>>,
}

impl Slot {
    /// A place whose processes are started with these arguments, and reach the database through a proxy of their own.
    pub(crate) async fn new(
        role: Role,
        name: String,
        url: &str,
        arguments: Vec<String>,
        (dice, log): (Dice, PathBuf),
    ) -> anyhow::Result<Self> {
        let cutter = Arc::new(Mutex::new(Cutter { dice, cuts: None, made: BTreeMap::new() }));
        let decides = Arc::clone(&cutter);
        let plan =
            move |statement: &str| decides.lock().unwrap_or_else(PoisonError::into_inner).decide(statement);
        let proxy = Proxy::new(url, Duration::ZERO, plan).await?;
        Ok(Self { role, name, proxy, cutter, arguments, log, process: tokio::sync::Mutex::new(None) })
    }

    /// Starts its process, with further variables in its environment.
    pub(crate) fn spawn(&self, group: &Group, environment: &[(&str, String)]) -> anyhow::Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("the log {}", self.log.display()))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(match self.role {
            Role::Worker => "worker",
            Role::Client => "client",
        });
        command.args(["--name", &self.name, "--url", self.proxy.url()]).args(&self.arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::null()).stderr(log);
        group.spawn(&mut command)
    }

    /// The network between the process and the server.
    pub(crate) fn link(&self) -> &Link {
        self.proxy.link()
    }

    /// Leads the process to the server of that URL.
    pub(crate) fn redirect(&self, url: &str) -> anyhow::Result<()> {
        Ok(self.proxy.redirect(url)?)
    }

    /// From now on some of its statements are cut, or none.
    pub(crate) fn cut(&self, cuts: Option<Cuts>) {
        self.cutter.lock().unwrap_or_else(PoisonError::into_inner).cuts = cuts;
    }

    /// How often its statements were cut, by their kind.
    pub(crate) fn cuts_made(&self) -> BTreeMap<&'static str, u64> {
        self.cutter.lock().unwrap_or_else(PoisonError::into_inner).made.clone()
    }

    /// Ends everything that disturbs it, if the process is stopped too.
    pub(crate) fn recover(&self, process: &Child) {
        self.cut(None);
        self.link().resume();
        self.link().set_latency(Duration::ZERO);
        self.link().lose_notifications(false);
        // It may have ended.
        let _ = send(process, Signal::CONT);
    }
}
