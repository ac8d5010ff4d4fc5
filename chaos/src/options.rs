//! The options of the program, and what `--help` says. It must not know how they are carried out.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::faults::FAULTS;
use crate::role::ProcessOptions;
use crate::workload::KINDS;

/// Proves on real processes that nothing is lost and nothing is done twice.
///
/// It starts a PostgreSQL, workers and clients, each as a process with a proxy, and injects the faults of a seed. Clients
/// note what is acknowledged to them. Then the faults end, everything has to finish, and a checker compares the notes with the
/// log, the tables of the users, and what triggers of the server saw. The exit status is 1 after a violation, and the data
/// and the logs are kept.
#[derive(Debug, Parser)]
#[command(name = "chaos", args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) process: Option<Process>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What the copies of this program do that it starts.
#[derive(Debug, Subcommand)]
pub(crate) enum Process {
    /// A worker.
    #[command(hide = true)]
    Worker(ProcessOptions),
    /// A client.
    #[command(hide = true)]
    Client(ProcessOptions),
}

/// The options of a run.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// How long faults are injected, in minutes: 0.05 to 1440. Finishing and checking come on top.
    #[arg(long, value_name = "M", default_value = "1", value_parser = minutes)]
    minutes: f64,

    /// Decides which faults are injected when, and what clients do [default: drawn, and printed].
    ///
    /// A seed repeats the plan, not the run: the rest is up to real processes.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,

    /// How many worker processes there are: 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = within(1..=64))]
    workers: u64,

    /// How many client processes there are: 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = within(1..=64))]
    clients: u64,

    /// Inject only these faults: names separated by commas; none if the list is empty.
    #[arg(long, value_name = "FAULTS", value_parser = faults, conflicts_with = "without")]
    faults: Option<Faults>,

    /// Inject all faults but these: names separated by commas.
    #[arg(long, value_name = "FAULTS", value_parser = faults)]
    without: Option<Faults>,

    /// Start only these kinds of runs: names separated by commas.
    #[arg(long, value_name = "RUNS", value_parser = kinds)]
    runs: Option<Kinds>,

    /// The pause between two faults on average, in milliseconds: 10 to 600000.
    #[arg(long, value_name = "MS", default_value_t = 800, value_parser = within(10..=600_000))]
    pause: u64,

    /// How long a worker's lease lasts, in milliseconds: 1000 to 60000. Pauses and partitions take up to three times as long.
    #[arg(long, value_name = "MS", default_value_t = 3_000, value_parser = within(1_000..=60_000))]
    lease_ttl: u64,

    /// How long everything may take to finish after the last fault, in seconds: 1 to 86400. What then waits is a violation.
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = within(1..=86_400))]
    patience: u64,

    /// Keep the server's data in this directory, which is on a small file system that the fault `disk` fills: 1 to 8 GiB,
    /// and used by nobody else. Without it, that fault is not injected.
    #[arg(long, value_name = "DIR")]
    server_dir: Option<PathBuf>,

    /// Keep the data and the logs, whatever the outcome.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Faults, by their places in the table.
type Faults = Vec<usize>;

/// Kinds of runs, by their places in the table.
type Kinds = Vec<usize>;

impl Command {
    /// Reads the arguments of this process. Ends it if they cannot be carried out.
    pub(crate) fn read() -> Self {
        let mut command = Self::command().after_help(tables());
        let mut read = command.get_matches_mut();
        let mut this = Self::from_arg_matches_mut(&mut read).unwrap_or_else(|error| error.exit());
        this.options.seed.get_or_insert_with(|| u64::from(std::process::id()));
        this
    }
}

impl Options {
    pub(crate) fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    pub(crate) fn workers(&self) -> u64 {
        self.workers
    }

    pub(crate) fn clients(&self) -> u64 {
        self.clients
    }

    pub(crate) fn pause(&self) -> Duration {
        Duration::from_millis(self.pause)
    }

    pub(crate) fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.lease_ttl)
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    pub(crate) fn server_dir(&self) -> Option<&Path> {
        self.server_dir.as_deref()
    }

    /// The faults that are asked for, whether or not they can be injected here.
    pub(crate) fn faults(&self) -> Vec<usize> {
        let without = self.without.clone().unwrap_or_default();
        let all = || (0..FAULTS.len()).filter(|fault| !without.contains(fault)).collect();
        self.faults.clone().unwrap_or_else(all)
    }

    /// The kinds of runs that are started.
    pub(crate) fn kinds(&self) -> Vec<usize> {
        self.runs.clone().unwrap_or_else(|| (0..KINDS.len()).collect())
    }

    /// The command that does the same again.
    pub(crate) fn again(&self) -> String {
        let names = |faults: &Faults| -> String {
            faults.iter().map(|fault| FAULTS[*fault].name).collect::<Vec<_>>().join(",")
        };
        let mut command = format!(
            "cargo run --release -p pgworkflows-chaos -- --minutes {} --seed {} --workers {} --clients {} --pause {} \
             --lease-ttl {}",
            self.minutes,
            self.seed(),
            self.workers,
            self.clients,
            self.pause,
            self.lease_ttl
        );
        for (option, faults) in [("--faults", &self.faults), ("--without", &self.without)] {
            if let Some(faults) = faults {
                command += &format!(" {option} '{}'", names(faults));
            }
        }
        if let Some(directory) = &self.server_dir {
            command += &format!(" --server-dir '{}'", directory.display());
        }
        if let Some(runs) = &self.runs {
            let names: Vec<&str> = runs.iter().map(|kind| KINDS[*kind].name).collect();
            command += &format!(" --runs {}", names.join(","));
        }
        command
    }
}

/// The faults and the runs, for people.
fn tables() -> String {
    let mut text = "Faults:\n".to_owned();
    for fault in FAULTS {
        text += &format!("  {:<13} {}\n", fault.name, fault.about);
    }
    text += "\nRuns:\n";
    for kind in KINDS {
        text += &format!("  {:<13} {}\n", kind.name, kind.about);
    }
    text + "\nExamples:\n  \
        chaos --minutes 10                            all faults\n  \
        chaos --minutes 2 --faults kill,crash-server  only these\n  \
        chaos --minutes 5 --faults kill,pause --runs payment --pause 250\n  \
        chaos --minutes 1 --faults ''                 none: what the checker says of a calm system\n\n\
      A small file system for `--server-dir`, by root, gone with the shell:\n  \
        unshare --mount sh -c 'mount -t tmpfs -o size=3g tmpfs /mnt && chaos --minutes 10 --server-dir /mnt'"
}

fn within(range: RangeInclusive<u64>) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(range)
}

fn minutes(value: &str) -> Result<f64, String> {
    let minutes: f64 = value.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.05..=1440.0).contains(&minutes) { Ok(minutes) } else { Err("give 0.05 to 1440".to_owned()) }
}

fn faults(value: &str) -> Result<Faults, String> {
    let known: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
    places(value, "no fault", &known)
}

fn kinds(value: &str) -> Result<Kinds, String> {
    let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    match places(value, "no kind of run", &known) {
        Ok(kinds) if kinds.is_empty() => Err(format!("name one at least; there are {}", known.join(", "))),
        places => places,
    }
}

/// The places of the names in a list.
fn places(value: &str, missing: &str, known: &[&str]) -> Result<Vec<usize>, String> {
    let names = value.split(',').filter(|name| !name.is_empty());
    let place = |name: &str| {
        let found = known.iter().position(|known| *known == name);
        found.ok_or_else(|| format!("there is {missing} `{name}`; there are {}", known.join(", ")))
    };
    names.map(place).collect()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Command;
    use crate::faults::FAULTS;

    fn read(line: &[&str]) -> Result<Command, String> {
        Command::try_parse_from(["chaos"].iter().chain(line)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_do_not_contradict_each_other() {
        Command::command().debug_assert();
    }

    #[test]
    fn all_faults_are_asked_for_unless_some_are_named() {
        let count = |line: &[&str]| read(line).unwrap().options.faults().len();
        assert_eq!(count(&[]), FAULTS.len());
        assert_eq!(count(&["--faults", "kill,pause"]), 2);
        assert_eq!(count(&["--faults", ""]), 0);
        assert_eq!(count(&["--without", "kill"]), FAULTS.len() - 1);
    }

    #[test]
    fn command_that_does_the_same_is_read_back() {
        let options = read(&[
            "--minutes",
            "0.5",
            "--seed",
            "7",
            "--without",
            "kill,roll",
            "--runs",
            "payment",
            "--server-dir",
            "/mnt",
        ])
        .unwrap()
        .options;
        let again = options.again().replace('\'', "");
        let words: Vec<&str> = again.split(' ').skip_while(|word| *word != "--").skip(1).collect();
        let again = read(&words).unwrap().options;
        assert_eq!(again.faults(), options.faults());
        assert_eq!((again.kinds(), again.kinds().len()), (options.kinds(), 1));
        assert_eq!((again.seed(), again.lasts()), (7, options.lasts()));
        assert_eq!(again.server_dir(), options.server_dir());
    }

    #[test]
    fn invalid_value_is_refused_with_the_value_and_what_is_allowed() {
        for (line, parts) in [
            (["--minutes", "0"], &["'0'", "--minutes", "0.05 to 1440"] as &[_]),
            (["--minutes", "ten"], &["'ten'", "not a number"]),
            (["--workers", "0"], &["'0'", "--workers", "1..=64"]),
            (["--faults", "kill,flood"], &["`flood`", "there are kill, ", "crash-server"]),
            (["--runs", "refund,loan"], &["`loan`", "there are transfer, payment, "]),
            (["--runs", ""], &["name one at least"]),
            (["--lease-ttl", "10"], &["'10'", "1000..=60000"]),
        ] {
            let said = read(&line).unwrap_err();
            assert!(parts.iter().all(|part| said.contains(part)), "{line:?}: {said}");
        }
    }
}
