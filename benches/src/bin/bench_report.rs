//! Rewrites the tables and plots of `docs/performance.md` from new measurements. `cargo xtask bench-report` runs it,
//! after it has built the programs and run the replay benchmark.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pgworkflows_benches::Failure;
use pgworkflows_benches::arguments::{Arguments, Misuse};
use pgworkflows_benches::page::{Results, Size, measure, rewrite};

const HELP: &str = "\
Options of `bench-report`:
    --full           what the goals speak of, about an hour; without it some minutes
    --render-only    no measurements: those of last time are shown again";

fn main() -> ExitCode {
    let options = match read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(misuse) => {
            eprintln!("bench-report: {misuse}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match report(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench-report: {failure}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    size: Size,
    render_only: bool,
}

fn read(words: impl Iterator<Item = String>) -> Result<Options, Misuse> {
    let mut arguments = Arguments::read(words, &["--full", "--render-only"])?;
    let size = if arguments.flag("--full") { Size::Full } else { Size::Short };
    let render_only = arguments.flag("--render-only");
    arguments.finish()?;
    Ok(Options { size, render_only })
}

fn report(options: Options) -> Result<(), Failure> {
    let programs = std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default();
    // The programs are in `release` of the target directory.
    let target = programs.parent().map(Path::to_owned).unwrap_or_default();
    let kept = target.join("bench-report.json");
    let results = if options.render_only {
        Results::read(&kept)?
    } else {
        let results = measure(&programs, &target.join("criterion"), options.size)?;
        results.keep(&kept)?;
        results
    };
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    rewrite(&own.join("../docs/performance.md"), &results)
}
