//! What is measured for the page, by the programs of this package. It must not know how the page shows it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Failure;

/// How much time the measurements may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Some minutes: small tables, short waits.
    Short,
    /// An hour: what the goals speak of.
    Full,
}

/// Everything that was measured, by the names below.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results(BTreeMap<String, Value>);

/// A measurement: its name, its program with its arguments, and what is added or changed in the full form.
type Measurement = (&'static str, &'static str, &'static str);

const MEASUREMENTS: [Measurement; 20] = [
    ("same", "load --runs 60000 --repeat 3", ""),
    ("other", "load --client other --runs 30000 --repeat 3", "--runs 60000"),
    ("five", "load --steps 5 --runs 20000 --repeat 3", ""),
    ("steps", "load --workload steps --steps 5 --runs 30000 --repeat 3", ""),
    ("fanout", "load --workload fanout --runs 10000 --repeat 3", ""),
    ("signals", "load --workload signals --runs 5000 --repeat 3", ""),
    ("timers", "load --workload timers --runs 5000 --repeat 3 --latency-runs 20", ""),
    ("second", "load --workload timers --due same-second --runs 50000 --lead-s 40 --latency-runs 0", ""),
    ("memory", "load --store memory --runs 100000 --repeat 3", ""),
    ("closed", "growth closed --rows 100000", "--rows 1000000"),
    ("events", "growth events --rows 111111", "--rows 1111111"),
    ("parked", "growth parked --rows 100000", "--rows 1000000"),
    ("partitions-1", "growth partitions --partitions 1", ""),
    ("partitions-10", "growth partitions --partitions 10", ""),
    ("partitions-60", "growth partitions --partitions 60", ""),
    ("recovery-1000", "growth recovery --rows 1000", ""),
    ("recovery-10000", "growth recovery --rows 10000", ""),
    ("snapshot", "growth snapshot --seconds 30", "--seconds 300"),
    ("neighbour", "growth neighbour --seconds 10", "--seconds 60"),
    ("idle", "growth idle --seconds 60", "--seconds 300"),
];

impl Results {
    /// Reads results that were kept.
    ///
    /// # Errors
    /// If the file cannot be read, or is not what [`Results::keep`] wrote.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(serde_json::from_str::<BTreeMap<String, Value>>(&text)?))
    }

    /// Keeps them in a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, path: &Path) -> Result<(), Failure> {
        Ok(fs::write(path, serde_json::to_string_pretty(&self.0)?)?)
    }

    /// A figure of a measurement.
    pub(super) fn get(&self, measurement: &str, figure: &str) -> Option<f64> {
        self.0.get(measurement)?.get(figure)?.as_f64()
    }

    /// The least and greatest value of a figure that was measured several times.
    pub(super) fn spread(&self, measurement: &str, figure: &str) -> Option<(f64, f64)> {
        let spread = self.0.get(measurement)?.get("spread")?.get(figure)?;
        Some((spread.get(0)?.as_f64()?, spread.get(1)?.as_f64()?))
    }

    /// A fact of a measurement, in words.
    pub(super) fn words(&self, measurement: &str, fact: &str) -> Option<&str> {
        self.0.get(measurement)?.get(fact)?.as_str()
    }

    /// For tests: one figure.
    #[cfg(test)]
    pub(super) fn with(mut self, measurement: &str, figure: &str, value: f64) -> Self {
        let of = self.0.entry(measurement.to_owned()).or_insert_with(|| serde_json::json!({}));
        of[figure] = serde_json::json!(value);
        self
    }
}

/// Measures everything, one after the other.
///
/// # Errors
/// If a program fails: a page with gaps would not say so.
pub fn measure(programs: &Path, criterion: &Path, size: Size) -> Result<Results, Failure> {
    let mut results = BTreeMap::new();
    for (name, line, full) in MEASUREMENTS {
        eprintln!("==> {name}: {line} {}", if size == Size::Full { full } else { "" });
        results.insert(name.to_owned(), run(programs, line, if size == Size::Full { full } else { "" })?);
    }
    results.insert("machine".to_owned(), machine());
    results.insert("replay".to_owned(), estimates(criterion));
    Ok(Results(results))
}

/// Runs one of the programs and reads the object that it prints. An argument of the full form replaces its namesake.
fn run(programs: &Path, line: &str, full: &str) -> Result<Value, Failure> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let full: Vec<&str> = full.split_whitespace().collect();
    if let Some(at) = full.first().and_then(|name| words.iter().position(|word| word == name)) {
        words.drain(at..at + 2);
    }
    let mut command = Command::new(programs.join(words.remove(0)));
    command.args(&words).args(&full).arg("--json").stderr(Stdio::inherit());
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if !output.status.success() {
        return Err(format!("`{line}` ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What the figures were measured on.
fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = memory.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    serde_json::json!({
        "model": model.map_or("unknown", |(_, model)| model),
        "cores": cores,
        "memory_gib": (kibibytes.unwrap_or_default() / f64::from(1 << 20)).round(),
        "kernel": kernel.split('-').next().unwrap_or_default().trim(),
    })
}

/// Nanoseconds per iteration of each replay benchmark, as `activities/decoded/1000`.
fn estimates(criterion: &Path) -> Value {
    let mut found = serde_json::Map::new();
    let root = criterion.join("replay");
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    for function in entries(root.clone()) {
        for size in entries(function.path()) {
            let path = size.path().join("new").join("estimates.json");
            let read = || serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok();
            let Some(nanos) = read().and_then(|value| value.get("median")?.get("point_estimate")?.as_f64())
            else {
                continue;
            };
            // Criterion names directories with underscores where a name has slashes.
            let (function, size) = (function.file_name(), size.file_name());
            let name = format!("{}/{}", function.to_string_lossy().replace('_', "/"), size.to_string_lossy());
            found.insert(name, serde_json::json!(nanos));
        }
    }
    Value::Object(found)
}
