//! Puts whole systems under load, and writes `docs/performance.md`. It must not measure what is below the public API:
//! that is for the benchmarks in `benches/`.
//!
//! ```text
//! cargo run --release -p pgworkflows-benches -- load --workload activities --runs 20000 --repeat 3
//! cargo run --release -p pgworkflows-benches -- growth closed --rows 1000000
//! ```
//!
//! In reading order: [`workload`] is what one run does, [`drive`] starts many, [`load`] counts what they cost with
//! [`process`] and [`server`], and [`figures`] sums that up. [`growth`] asks how it changes as a database fills.
//! [`compare`] runs a load by turns with another build, or with other options. [`report`] runs all measurements of the [`page`], which has its [`plots`].

mod compare;
mod drive;
mod figures;
mod growth;
mod load;
mod page;
mod plots;
mod process;
mod report;
mod server;
mod workload;

use std::process::ExitCode;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use pgworkflows_benches::store::Address;
use pgworkflows_benches::workers::{self, Serves};

/// The allocator that a service under load would choose: with the system's, client and worker cost more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Puts the engine and its store under load, and reports what that costs.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
enum Command {
    /// Starts runs as fast as they complete; reports their rate and what they cost.
    Load(load::LoadOptions),
    /// Reports how throughput changes as the database fills, and what idle workers and recovery cost.
    Growth(growth::GrowthOptions),
    /// Measures another build of this program and this one by turns, or this one with other options; reports the ratios of their
    /// figures.
    Compare(compare::CompareOptions),
    /// Measures everything in some minutes and rewrites the tables and plots of docs/performance.md.
    Report(report::ReportOptions),
    /// A worker process of a load, until its standard input is closed.
    #[command(hide = true)]
    Worker {
        #[command(flatten)]
        address: Address,
        #[command(flatten)]
        serves: Serves,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Load(options) => load::run(&options).await,
        Command::Growth(options) => growth::run(&options).await,
        Command::Compare(options) => compare::run(&options),
        Command::Report(options) => report::run(&options),
        Command::Worker { address, serves } => workers::serve(&address, serves).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("measure: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// A number of runs or rows, at least one.
fn count() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=100_000_000)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Command;

    #[test]
    fn options_do_not_contradict_each_other() {
        Command::command().debug_assert();
    }

    #[test]
    fn unusable_options_are_refused_with_the_value_and_the_limit() {
        for (line, parts) in [
            ("load --runs 0", &["'0'", "--runs", "1..=100000000"] as &[_]),
            (
                "load --workload sleep",
                &[
                    "'sleep'",
                    "activities, steps, fanout, tasks, pauses, signals, starts, children, updates, continue, timers, burst",
                ],
            ),
            ("load --memory --through-inbox", &["--memory", "--through-inbox"]),
            ("load --memory --other-process", &["--memory", "--other-process"]),
            ("load --memory --url postgres://h", &["--memory", "--url"]),
            ("load --telemetry loud", &["'loud'", "off, traces, metrics, both"]),
            ("growth closed --row 7", &["'--row'"]),
            ("compare --turns 3", &["--base <PATH>"]),
            ("growth idle --seconds 0", &["'0'", "--seconds", "1..=86400"]),
        ] {
            let words = std::iter::once("measure").chain(line.split(' '));
            let error = Command::try_parse_from(words).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{line}: {error}");
        }
    }
}
