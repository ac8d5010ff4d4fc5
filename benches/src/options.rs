//! What the load program can be told. It must not do any of it.

use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, ValueEnum, value_parser};

use crate::arguments::{self, Database};
use crate::ground::{Address, StoreKind};
use crate::workload::Workload;

/// What to do.
#[derive(Debug)]
pub enum Role {
    /// Measure.
    Load(LoadOptions),
    /// Be a worker process of a load, until standard input is closed.
    Worker(Address),
}

/// Starts runs as fast as they are completed, and tells how fast that was and what it cost.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "load")]
pub struct LoadOptions {
    /// Where runs are kept.
    #[arg(long, default_value = "postgres")]
    pub store: StoreKind,

    /// Where, if that is a database.
    #[command(flatten)]
    pub database: Database,

    /// What is measured.
    #[command(flatten)]
    work: Work,

    /// When timers are due.
    #[arg(long, default_value = "each")]
    pub due: Due,

    /// How many seconds before its second the first run of `--due same-second` starts.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = value_parser!(u64).range(1..=3_600))]
    lead_s: u64,

    /// Runs in all, per repetition.
    #[arg(long, value_name = "N", default_value = "20000", value_parser = arguments::runs())]
    pub runs: u64,

    /// Runs before those, which are not measured [default: a fifth of --runs].
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(0..=100_000_000))]
    warm_up: Option<u64>,

    /// Runs that are started one at a time, for their latency.
    #[arg(long, value_name = "N", default_value = "500", value_parser = value_parser!(u64).range(0..=1_000_000))]
    pub latency_runs: u64,

    /// Whether the client shares the worker's process.
    #[arg(long, value_name = "PROCESS", default_value = "same")]
    pub client: ClientProcess,

    /// Workers; with `--client other` each in a process of its own.
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(1..=64))]
    pub workers: u64,

    /// Tasks that start runs.
    #[arg(long, value_name = "N", default_value = "8", value_parser = value_parser!(u64).range(1..=10_000))]
    pub clients: u64,

    /// Runs under way at a time, over all clients.
    #[arg(long, value_name = "N", default_value = "2000", value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub in_flight: u64,

    /// Repetitions; the figures are medians, with their spread.
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(1..=1_000))]
    pub repeat: u64,

    /// Print one JSON object on standard output, instead of a table.
    #[arg(long)]
    pub json: bool,

    /// For processes that the program itself starts.
    #[arg(long, hide = true, default_value = "load")]
    role: RoleName,
}

#[derive(Clone, Debug, PartialEq, Eq, Args)]
struct Work {
    /// What each run does.
    #[arg(long, value_name = "NAME", default_value = "activities")]
    workload: WorkloadName,

    /// Activities, steps or signals per run, one after the other.
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u32).range(1..=100_000))]
    steps: u32,

    /// Activities per run of `fanout`, at the same time.
    #[arg(long, value_name = "N", default_value = "20", value_parser = value_parser!(u32).range(1..=10_000))]
    width: u32,

    /// How many milliseconds the timer of `timers` runs.
    #[arg(
        long,
        value_name = "MILLISECONDS",
        default_value = "100",
        value_parser = value_parser!(u64).range(0..=3_600_000)
    )]
    sleep_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WorkloadName {
    Activities,
    Steps,
    #[value(name = "fanout")]
    FanOut,
    Timers,
    Signals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    Load,
    Worker,
}

/// When timers are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Due {
    /// Each so long after its start.
    Each,
    /// All within one second.
    SameSecond,
}

/// Where the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientProcess {
    /// In the worker's process.
    Same,
    /// In a process of its own.
    Other,
}

impl LoadOptions {
    /// What a run does.
    pub fn workload(&self) -> Workload {
        let Work { workload, steps, width, sleep_ms } = self.work;
        match workload {
            WorkloadName::Activities => Workload::Activities(steps),
            WorkloadName::Steps => Workload::Steps(steps),
            WorkloadName::FanOut => Workload::FanOut(width),
            WorkloadName::Timers => Workload::Timers(Duration::from_millis(sleep_ms)),
            WorkloadName::Signals => Workload::Signals(steps),
        }
    }

    /// How long before its second the first run starts, if timers are due within one.
    pub fn lead(&self) -> Duration {
        Duration::from_secs(self.lead_s)
    }

    /// Runs before anything is measured.
    pub fn warm_up(&self) -> u64 {
        self.warm_up.unwrap_or_else(|| self.runs.div_ceil(5))
    }
}

/// Reads the command line of the load program, its name included.
///
/// # Errors
/// What to print instead: help that was asked for, or what cannot be.
pub fn read(words: impl IntoIterator<Item = String>) -> Result<Role, clap::Error> {
    let options = LoadOptions::try_parse_from(words)?;
    check(&options)?;
    Ok(match (options.role, &options.database.url) {
        (RoleName::Worker, Some(url)) => {
            Role::Worker(Address { url: url.clone(), schema: options.database.schema })
        }
        (RoleName::Worker | RoleName::Load, _) => Role::Load(options),
    })
}

/// What is sensible by itself, but not together.
fn check(options: &LoadOptions) -> Result<(), clap::Error> {
    let refuse = |message| Err(LoadOptions::command().error(ErrorKind::ArgumentConflict, message));
    let (in_memory, has_url) = (options.store == StoreKind::Memory, options.database.url.is_some());
    if options.role == RoleName::Worker && !has_url {
        return refuse("--role worker needs --url");
    }
    if in_memory && has_url {
        return refuse("--url is for `--store postgres`; leave it out, or leave out `--store memory`");
    }
    if in_memory && options.client == ClientProcess::Other {
        return refuse("--store memory is in one process; give `--client same`, or `--store postgres`");
    }
    if options.due != Due::Each && options.work.workload != WorkloadName::Timers {
        return refuse("--due is for `--workload timers`; give that, or leave --due out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::{ClientProcess, LoadOptions, Role, WorkloadName, read};
    use crate::workload::Workload;

    fn words(line: &str) -> impl Iterator<Item = String> {
        std::iter::once("load").chain(line.split_whitespace()).map(str::to_owned)
    }

    fn options(line: &str) -> LoadOptions {
        match read(words(line)).unwrap() {
            Role::Load(options) => options,
            Role::Worker(address) => panic!("{address:?}"),
        }
    }

    fn said(line: &str) -> String {
        read(words(line)).unwrap_err().to_string()
    }

    #[test]
    fn options_do_not_contradict_each_other() {
        LoadOptions::command().debug_assert();
    }

    #[test]
    fn defaults_are_one_activity_on_a_server_of_its_own() {
        let options = options("");
        assert_eq!(options.workload(), Workload::Activities(1));
        assert_eq!((options.runs, options.warm_up(), options.in_flight), (20_000, 4_000, 2_000));
        assert!(options.database.url.is_none() && !options.json);
        assert_eq!(options.client, ClientProcess::Same);
    }

    #[test]
    fn workloads_are_called_as_their_figures_are() {
        for name in WorkloadName::value_variants() {
            let value = name.to_possible_value().unwrap();
            assert_eq!(
                options(&format!("--workload {}", value.get_name())).workload().name(),
                value.get_name()
            );
        }
    }

    #[test]
    fn help_says_units_and_defaults() {
        let help = said("--help");
        for part in [
            "Starts runs as fast as they are completed",
            "Usage: load [OPTIONS]",
            "--sleep-ms <MILLISECONDS>",
            "--lead-s <SECONDS>",
            "[default: 20000]",
            "[default: a fifth of --runs]",
            "- same-second: All within one second",
        ] {
            assert!(help.contains(part), "{part:?} is not in {help}");
        }
        assert!(!help.contains("--role"), "{help}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_value_and_what_may_be() {
        for (line, parts) in [
            ("--runs 0", &["'0'", "--runs", "1..=100000000"] as &[_]),
            ("--runs many", &["'many'", "--runs"]),
            ("--sleep-ms 3600001", &["'3600001'", "--sleep-ms", "0..=3600000"]),
            ("--store sqlite", &["'sqlite'", "--store", "postgres, memory"]),
            ("--workload sleep", &["'sleep'", "activities, steps, fanout, timers, signals"]),
            ("--rums 7", &["'--rums'"]),
            ("7", &["'7'"]),
            ("--runs", &["--runs <N>", "a value is required"]),
            ("--store memory --client other", &["give `--client same`"]),
            ("--store memory --url postgres://h", &["leave it out"]),
            ("--due same-second", &["--workload timers"]),
            ("--role worker", &["--url"]),
        ] {
            let said = said(line);
            assert!(parts.iter().all(|part| said.contains(part)), "{line}: {said}");
        }
    }
}
