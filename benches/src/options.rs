//! What the load program can be told. It must not do any of it.

use std::time::Duration;

use crate::arguments::{Arguments, Misuse};
use crate::ground::{Address, StoreKind};
use crate::workload::Workload;

/// What is printed beside an error.
pub const HELP: &str = "\
Options of `load`:
    --store postgres|memory   where runs are kept (default: postgres, a throw-away server with fsync on)
    --url URL                 an existing server, instead of a throw-away one
    --schema NAME             the schema there (default: pgworkflows)
    --workload NAME           activities, steps, fanout, timers or signals (default: activities)
    --steps N                 activities, steps or signals per run, one after the other (default: 1)
    --width N                 activities per run of `fanout`, at the same time (default: 20)
    --sleep-ms N              how long the timer of `timers` runs (default: 100)
    --due each|same-second    when timers are due: each so long after its start, or all within one second
    --lead-s N                how long before that second the first run of `same-second` starts (default: 15)
    --runs N                  runs in all, per repetition (default: 20000)
    --warm-up N               runs before those (default: a fifth)
    --latency-runs N          runs that are started one at a time, for their latency (default: 500)
    --client same|other       whether the client shares the worker's process (default: same)
    --workers N               workers; with `--client other` each in a process of its own (default: 1)
    --clients N               tasks that start runs (default: 8)
    --in-flight N             runs under way at a time, over all of them (default: 2000)
    --repeat N                repetitions; the figures are medians, with their spread (default: 1)
    --json                    one JSON object on standard output, instead of a table";

/// What to do.
#[derive(Debug)]
pub enum Role {
    /// Measure.
    Load(LoadOptions),
    /// Be a worker process of a load, until standard input is closed.
    Worker(Address),
}

/// When timers are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Each so long after its start.
    Each,
    /// All within one second, which begins so long after the first start.
    SameSecond(Duration),
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where runs are kept.
    pub store: StoreKind,
    /// An existing server.
    pub url: Option<String>,
    /// The schema there.
    pub schema: String,
    /// What runs do.
    pub workload: Workload,
    /// When timers are due.
    pub due: Due,
    /// Runs per repetition.
    pub runs: u64,
    /// Runs before anything is measured.
    pub warm_up: u64,
    /// Runs that are started one at a time.
    pub latency_runs: u64,
    /// Whether workers have processes of their own.
    pub other_process: bool,
    /// Workers.
    pub workers: u64,
    /// Tasks that start runs.
    pub clients: u64,
    /// Runs under way at a time.
    pub in_flight: u64,
    /// Repetitions.
    pub repeat: u64,
    /// Whether to print JSON.
    pub json: bool,
}

/// Reads the command line of the load program.
///
/// # Errors
/// If it says nothing sensible.
pub fn read(words: impl IntoIterator<Item = String>) -> Result<Role, Misuse> {
    let mut arguments = Arguments::read(words, &["--json"])?;
    let schema = arguments.text("--schema").unwrap_or_else(|| "pgworkflows".to_owned());
    let url = arguments.text("--url");
    if arguments.choice("--role", false, &[("load", false), ("worker", true)])? {
        arguments.finish()?;
        let url = url.ok_or_else(|| Misuse::new("--role worker needs --url"))?;
        return Ok(Role::Worker(Address { url, schema }));
    }
    let kinds =
        [("postgres", Some(StoreKind::Postgres)), ("memory", Some(StoreKind::Memory)), ("sqlite", None)];
    let store = arguments
        .choice("--store", Some(StoreKind::Postgres), &kinds)?
        .ok_or_else(|| Misuse::new("--store is `sqlite`, which is not built yet; give postgres or memory"))?;
    let runs = arguments.number("--runs", 20_000, 1..=100_000_000)?;
    let options = LoadOptions {
        store,
        url,
        schema,
        due: due(&mut arguments)?,
        workload: workload(&mut arguments)?,
        runs,
        warm_up: arguments.number("--warm-up", runs.div_ceil(5), 0..=100_000_000)?,
        latency_runs: arguments.number("--latency-runs", 500, 0..=1_000_000)?,
        other_process: arguments.choice("--client", false, &[("same", false), ("other", true)])?,
        workers: arguments.number("--workers", 1, 1..=64)?,
        clients: arguments.number("--clients", 8, 1..=10_000)?,
        in_flight: arguments.number("--in-flight", 2_000, 1..=1_000_000)?,
        repeat: arguments.number("--repeat", 1, 1..=1_000)?,
        json: arguments.flag("--json"),
    };
    arguments.finish()?;
    check(&options)?;
    Ok(Role::Load(options))
}

fn due(arguments: &mut Arguments) -> Result<Due, Misuse> {
    let lead = Duration::from_secs(arguments.number("--lead-s", 15, 1..=3_600)?);
    arguments.choice("--due", Due::Each, &[("each", Due::Each), ("same-second", Due::SameSecond(lead))])
}

fn workload(arguments: &mut Arguments) -> Result<Workload, Misuse> {
    let size = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let steps = size(arguments.number("--steps", 1, 1..=100_000)?);
    let width = size(arguments.number("--width", 20, 1..=10_000)?);
    let sleep = Duration::from_millis(arguments.number("--sleep-ms", 100, 0..=3_600_000)?);
    let known = [
        Workload::Activities(steps),
        Workload::Steps(steps),
        Workload::FanOut(width),
        Workload::Timers(sleep),
        Workload::Signals(steps),
    ];
    let named = known.map(|workload| (workload.name(), workload));
    arguments.choice("--workload", Workload::Activities(steps), &named)
}

/// What is sensible by itself, but not together.
fn check(options: &LoadOptions) -> Result<(), Misuse> {
    let refuse = |message: &str| Err(Misuse::new(message));
    if options.store == StoreKind::Memory && options.url.is_some() {
        return refuse("--url is for `--store postgres`; leave it out, or leave out `--store memory`");
    }
    if options.store == StoreKind::Memory && options.other_process {
        return refuse("--store memory is in one process; give `--client same`, or `--store postgres`");
    }
    if options.due != Due::Each && !matches!(options.workload, Workload::Timers(_)) {
        return refuse("--due is for `--workload timers`; give that, or leave --due out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Role, read};
    use crate::workload::Workload;

    fn error(line: &str) -> String {
        read(line.split_whitespace().map(str::to_owned)).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_one_activity_on_a_server_of_its_own() {
        let Ok(Role::Load(options)) = read([]) else { panic!("no load") };
        assert_eq!(options.workload, Workload::Activities(1));
        assert_eq!((options.runs, options.warm_up, options.in_flight), (20_000, 4_000, 2_000));
        assert!(options.url.is_none() && !options.other_process && !options.json);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        assert!(error("--store sqlite").contains("not built yet; give postgres or memory"));
        assert!(error("--store memory --client other").contains("give `--client same`"));
        assert!(error("--store memory --url postgres://h").contains("leave it out"));
        assert!(error("--due same-second").contains("--workload timers"));
        assert!(error("--workload sleep").contains("activities, steps, fanout, timers, signals"));
        assert!(error("--runs 0").contains("--runs is `0`"));
        assert!(error("--role worker").contains("--url"));
    }
}
