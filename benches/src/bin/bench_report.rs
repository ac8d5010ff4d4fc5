//! Rewrites the tables and plots of `docs/performance.md` from new measurements. `cargo xtask bench-report` runs it,
//! after it has built the programs and run the replay benchmark.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use pgworkflows_benches::Failure;
use pgworkflows_benches::page::{Results, Size, measure, rewrite};

/// Rewrites the tables and plots of docs/performance.md from new measurements, which take some minutes.
#[derive(Parser)]
#[command(name = "bench-report", bin_name = "cargo xtask bench-report")]
struct Options {
    /// Measure what the goals speak of, which takes about an hour.
    #[arg(long)]
    full: bool,

    /// Measure nothing: the figures of last time are shown again.
    #[arg(long)]
    render_only: bool,
}

fn main() -> ExitCode {
    match report(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench-report: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn report(options: &Options) -> Result<(), Failure> {
    let programs = std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default();
    // The programs are in `release` of the target directory.
    let target = programs.parent().map(Path::to_owned).unwrap_or_default();
    let kept = target.join("bench-report.json");
    let size = if options.full { Size::Full } else { Size::Short };
    let results = if options.render_only {
        Results::read(&kept)?
    } else {
        let results = measure(&programs, &target.join("criterion"), size)?;
        results.keep(&kept)?;
        results
    };
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    rewrite(&own.join("../docs/performance.md"), &results)
}
