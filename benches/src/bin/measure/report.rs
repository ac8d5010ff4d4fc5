//! All measurements of the page `docs/performance.md`, each by a process of this program. It must not know how the page
//! shows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use pgworkflows_benches::Failure;
use serde_json::{Map, Value, json};

use crate::page::{EVENTS, KINDS, Results, rewrite};
use crate::process::kibibytes;

#[derive(Clone, Debug, Args)]
pub(crate) struct ReportOptions {
    /// Measures at the size that the goals are set for, which takes about an hour.
    #[arg(long)]
    full: bool,

    /// Measures nothing, and shows the figures of the last time again.
    #[arg(long)]
    render_only: bool,
}

/// A measurement: its name, its arguments, and those that are replaced for its full size.
const MEASUREMENTS: [(&str, &str, &str); 20] = [
    ("same", "load --runs 60000 --repeat 3", ""),
    ("other", "load --other-process --runs 30000 --repeat 3", "--runs 60000"),
    ("five", "load --size 5 --runs 20000 --repeat 3", ""),
    ("steps", "load --workload steps --size 5 --runs 30000 --repeat 3", ""),
    ("fanout", "load --workload fanout --size 20 --runs 10000 --repeat 3", ""),
    ("signals", "load --workload signals --runs 5000 --repeat 3", ""),
    ("timers", "load --workload timers --runs 5000 --repeat 3 --latency-runs 20", ""),
    ("second", "load --workload burst --runs 50000 --lead-s 40 --latency-runs 0", ""),
    ("memory", "load --memory --runs 100000 --repeat 3", ""),
    ("closed", "growth closed --rows 100000", "--rows 1000000"),
    ("events", "growth closed --activities 4 --rows 111111", "--rows 1111111"),
    ("parked", "growth parked --rows 100000", "--rows 1000000"),
    ("partitions_1", "growth partitions --partitions 1", ""),
    ("partitions_10", "growth partitions --partitions 10", ""),
    ("partitions_60", "growth partitions --partitions 60", ""),
    ("recovery_1000", "growth recovery --rows 1000", ""),
    ("recovery_10000", "growth recovery --rows 10000", ""),
    ("snapshot", "growth snapshot --seconds 30", "--seconds 300"),
    ("neighbour", "growth neighbour --seconds 10", "--seconds 60"),
    ("idle", "growth idle --seconds 60", "--seconds 300"),
];

/// Measures, keeps the results, and rewrites the page with them.
pub(crate) fn run(options: &ReportOptions) -> Result<(), Failure> {
    let program = std::env::current_exe()?;
    // The program is in `release` of the target directory.
    let target = program.ancestors().nth(2).unwrap_or(Path::new("."));
    let kept = target.join("bench-report.json");
    if !options.render_only {
        let results = measure(&program, &target.join("criterion"), options.full)?;
        fs::write(&kept, serde_json::to_string_pretty(&results)?)?;
    }
    let text = fs::read_to_string(&kept).map_err(|error| format!("{}: {error}", kept.display()))?;
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    rewrite(&own.join("../docs/performance.md"), &serde_json::from_str(&text)?)
}

/// Measures everything, one after the other. The first failure ends it: a page with gaps would not say so.
fn measure(program: &Path, criterion: &Path, full: bool) -> Result<Results, Failure> {
    let mut results = Results::new();
    for (name, arguments, for_full) in MEASUREMENTS {
        let arguments = format!("{arguments} {} --json", if full { for_full } else { "" });
        eprintln!("==> {name}: {arguments}");
        let mut command = Command::new(program);
        let output = command.args(arguments.split_whitespace()).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("`{arguments}` ended with {}", output.status).into());
        }
        let mut measured: Value = serde_json::from_slice(&output.stdout)?;
        if name == "same" {
            results.insert("machine".to_owned(), machine(&measured["facts"]["store"]));
        }
        results.insert(name.to_owned(), measured["figures"].take());
    }
    results.insert("replay".to_owned(), replay(criterion)?);
    Ok(results)
}

/// What everything is measured on.
fn machine(store: &Value) -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "model": model.map_or("an unknown kind", |(_, model)| model),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "memory_gib": (kibibytes("/proc/meminfo", "MemTotal:") as f64 / f64::from(1 << 20)).round(),
        "kernel": kernel.split('-').next().unwrap_or_default().trim(),
        "store": store,
    })
}

/// Nanoseconds per event of each replay benchmark, as `fan-out/decoded/1000`, from the files that criterion leaves.
fn replay(criterion: &Path) -> Result<Value, Failure> {
    let mut found = Map::new();
    for kind in KINDS {
        for way in ["decoded", "bytes"] {
            for events in EVENTS {
                let path = criterion.join(format!("replay/{kind}_{way}/{events}/new/estimates.json"));
                let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                let median = serde_json::from_slice::<Value>(&text)?["median"]["point_estimate"].take();
                let nanos = median.as_f64().ok_or("criterion estimated no median")?;
                found.insert(format!("{kind}/{way}/{events}"), json!(nanos / f64::from(events)));
            }
        }
    }
    Ok(Value::Object(found))
}
