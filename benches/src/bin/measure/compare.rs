//! Two builds of this program by turns, or one with two sets of options, because a machine's speed changes from minute to
//! minute. It must not know which revisions they are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, value_parser};
use pgworkflows_benches::Failure;
use serde_json::{Map, Value};

use crate::figures::{Summary, number};

#[derive(Clone, Debug, Args)]
pub(crate) struct CompareOptions {
    /// The other build of this program [default: this one].
    #[arg(long, value_name = "PATH", required_unless_present = "with")]
    base: Option<PathBuf>,

    /// Further arguments, separated by spaces, for this build and not for the other, such as `--telemetry both`.
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    with: Option<String>,

    /// How often each of the two is measured.
    #[arg(long, value_name = "N", default_value = "10", value_parser = value_parser!(u64).range(1..=1_000))]
    turns: u64,

    /// The arguments of `load`, or `growth` and its arguments, for both.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    measurement: Vec<OsString>,
}

/// The figures of one measurement by their names.
type Figures = Map<String, Value>;

/// Measures both by turns, each time on a server of its own, and prints the ratio of each figure.
pub(crate) fn run(options: &CompareOptions) -> Result<(), Failure> {
    let this = std::env::current_exe()?;
    let base = options.base.as_ref().unwrap_or(&this);
    let mut arguments = options.measurement.clone();
    arguments.extend(options.with.iter().flat_map(|with| with.split_whitespace()).map(OsString::from));
    let mut turns = Vec::new();
    for turn in 0..options.turns {
        // The first to be measured may find the machine in another state than the second.
        let (base, own) = if turn % 2 == 0 {
            let base = measure(base, &options.measurement)?;
            (base, measure(&this, &arguments)?)
        } else {
            let own = measure(&this, &arguments)?;
            (measure(base, &options.measurement)?, own)
        };
        eprintln!("turn {} of {}: {}", turn + 1, options.turns, progress(&base, &own));
        turns.push((base, own));
    }
    print(&turns);
    Ok(())
}

fn measure(program: &Path, arguments: &[OsString]) -> Result<Figures, Failure> {
    let mut command = Command::new(program);
    match arguments {
        [first, rest @ ..] if first == "growth" => command.args(["growth", "--json"]).args(rest),
        load => command.arg("load").args(load).arg("--json"),
    };
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("`{}`: {}", program.display(), output.status).into());
    }
    match serde_json::from_slice::<Value>(&output.stdout)?["figures"].take() {
        Value::Object(figures) => Ok(figures),
        other => Err(format!("`{}` printed {other} instead of figures", program.display()).into()),
    }
}

/// The main figure of a turn, for the person who waits.
fn progress(base: &Figures, own: &Figures) -> String {
    let main = ["runs_per_second", "recovery_ms"].into_iter().find(|name| base.contains_key(*name));
    let Some(name) = main.or_else(|| base.keys().next().map(String::as_str)) else { return String::new() };
    let figure = |figures| median(figures, name).map_or_else(|| "?".to_owned(), number);
    format!("{name} {}, {} before", figure(own), figure(base))
}

/// Prints each figure that both measured: the medians of all turns, and the ratios within the turns.
#[expect(clippy::print_stdout, reason = "it is what the program is asked for")]
fn print(turns: &[(Figures, Figures)]) {
    println!("{:30} {:>12} {:>12}  now / before, within a turn", "", "before", "now");
    let names = turns.first().into_iter().flat_map(|(base, _)| base.keys());
    for name in names {
        let pairs: Vec<_> =
            turns.iter().filter_map(|(base, own)| Some((median(base, name)?, median(own, name)?))).collect();
        if let Some([base, own, ratio]) = compare(&pairs) {
            println!("{name:30} {:>12} {:>12}  {ratio}", number(base.median), number(own.median));
        }
    }
}

/// The figures of both and their ratios; `None` if a ratio would mean nothing.
fn compare(pairs: &[(f64, f64)]) -> Option<[Summary; 3]> {
    if pairs.is_empty() || pairs.iter().any(|(base, _)| *base == 0.0) {
        return None;
    }
    let of = |value: fn(&(f64, f64)) -> f64| Summary::of(pairs.iter().map(value).collect());
    Some([of(|(base, _)| *base), of(|(_, own)| *own), of(|(base, own)| own / base)])
}

fn median(figures: &Figures, name: &str) -> Option<f64> {
    figures.get(name)?.get("median")?.as_f64()
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn ratios_are_taken_within_a_turn() {
        // The machine was half as fast in the second turn.
        let compared = compare(&[(100.0, 110.0), (50.0, 55.0)]).expect("two turns");
        assert_eq!(
            compared.map(|summary| summary.to_string()),
            ["75 (50 to 100)", "82.5 (55 to 110)", "1.1"]
        );
    }

    #[test]
    fn figure_that_was_zero_has_no_ratio() {
        assert!(compare(&[(0.0, 1.0)]).is_none());
        assert!(compare(&[]).is_none());
    }
}
