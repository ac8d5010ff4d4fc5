//! The figures that were set as goals: each with its goal, what was measured, and the best of the field.

use super::measurements::Results;
use super::tables::{number, table as render};

/// A goal: the figure in words, the goal, the best peer, the measurement, its figure, and what to multiply it by.
type Goal = (&'static str, &'static str, &'static str, &'static str, &'static str, f64);

/// The best peers were measured on the same kind of machine: 2 cores, PostgreSQL beside it with `fsync = on`.
const GOALS: [Goal; 23] = [
    (
        "one-activity runs per second, client in the worker's process",
        "≥ 20,000",
        "603 (Restate)",
        "same",
        "runs_per_second",
        1.0,
    ),
    ("the same, client in another process", "≥ 10,000", "", "other", "runs_per_second", 1.0),
    (
        "five sequential activities per run: activities per second",
        "≥ 35,000",
        "1,350 (Restate)",
        "five",
        "activities_per_second",
        1.0,
    ),
    ("five inline steps per run: steps per second", "≥ 45,000", "", "steps", "steps_per_second", 1.0),
    (
        "fan-out of 20 activities: activities per second",
        "≥ 35,000",
        "360 (duroxide-pg)",
        "fanout",
        "activities_per_second",
        1.0,
    ),
    (
        "start to result, one at a time, same process, p50 (ms)",
        "≤ 1.2",
        "8.5 (Restate)",
        "same",
        "idle_latency_p50_ms",
        1.0,
    ),
    ("the same, p99 (ms)", "≤ 4", "24 (DBOS)", "same", "idle_latency_p99_ms", 1.0),
    ("from another process, p50 (ms)", "≤ 2.5", "", "other", "idle_latency_p50_ms", 1.0),
    ("from another process, p99 (ms)", "≤ 8", "", "other", "idle_latency_p99_ms", 1.0),
    ("write commits per one-activity run", "≤ 0.02", "3–10", "same", "write_commits_per_run", 1.0),
    ("WAL per one-activity run (kB)", "≤ 2.5", "2.9–8.7", "same", "wal_bytes_per_run", 1e-3),
    (
        "CPU per one-activity run, client and server (µs)",
        "≤ 90",
        "2,900 (Restate)",
        "same",
        "cpu_us_per_run",
        1.0,
    ),
    ("memory store: one-activity runs per second", "≥ 300,000", "", "memory", "runs_per_second", 1.0),
    (
        "throughput over closed runs, against an empty database (%)",
        "≥ 90",
        "60 (duroxide-pg, over thousands)",
        "closed",
        "share_percent",
        1.0,
    ),
    ("the same over many events (%)", "≥ 90", "", "events", "share_percent", 1.0),
    ("the same over parked runs (%)", "≥ 90", "", "parked", "share_percent", 1.0),
    ("throughput while a reader holds a snapshot (%)", "≥ 90", "", "snapshot", "share_percent", 1.0),
    (
        "50,000 timers due within one second: the last result after its deadline (s)",
        "≤ 3",
        "",
        "second",
        "lateness_max_ms",
        1e-3,
    ),
    ("recovery of 10,000 busy runs of 20 events (s)", "≤ 1", "", "recovery-10000", "recovery_ms", 1e-3),
    (
        "memory of a live run, with its future and what the executor keeps of it (bytes)",
        "≤ 1,536 beside its future",
        "",
        "recovery-10000",
        "memory_per_run_bytes",
        1.0,
    ),
    ("idle worker: CPU (% of a core)", "≤ 0.3", "", "idle", "worker_cpu_percent", 1.0),
    ("idle worker: statements per minute", "≤ 30", "240–6,000", "idle", "statements_per_minute", 1.0),
    ("connections of a worker with a client", "", "", "same", "connections", 1.0),
];

/// The table of all goals.
pub(super) fn table(results: &Results) -> String {
    let mut rows: Vec<Vec<String>> = GOALS.iter().map(|goal| row(results, *goal)).collect();
    rows.extend(replay(results));
    render(&["figure", "goal", "measured", "best peer"], &rows)
}

fn row(results: &Results, (figure, goal, peer, measurement, name, scale): Goal) -> Vec<String> {
    let measured = results.get(measurement, name).map(|value| number(value * scale));
    let spread = results
        .spread(measurement, name)
        .map(|(least, greatest)| format!(" ({} to {})", number(least * scale), number(greatest * scale)));
    let measured =
        measured.map_or_else(|| "not measured".to_owned(), |value| value + &spread.unwrap_or_default());
    vec![figure.to_owned(), goal.to_owned(), measured, peer.to_owned()]
}

/// Rates of replay: two events make an activity.
fn replay(results: &Results) -> Vec<Vec<String>> {
    let nanos = |name: &str| results.get("replay", name);
    let rate = |name: &str| {
        nanos(name).map_or_else(|| "not measured".to_owned(), |nanos| number(500.0 * 1e9 / nanos))
    };
    let per_event = |way: &str| {
        let (few, many) = (format!("activities/{way}/100"), format!("activities/{way}/100000"));
        let ratio = nanos(&few).zip(nanos(&many)).map(|(few, many)| number(many / few / 1_000.0));
        ratio.unwrap_or_else(|| "not measured".to_owned())
    };
    let row = |figure: &str, goal: &str, measured: String, peer: &str| {
        vec![figure.to_owned(), goal.to_owned(), measured, peer.to_owned()]
    };
    vec![
        row(
            "replay of decoded events, 1,000-event histories, one core: activities per second",
            "≥ 1,500,000",
            rate("activities/decoded/1000"),
            "690,000 (duroxide)",
        ),
        row(
            "replay from the stored bytes: activities per second",
            "≥ 1,000,000",
            rate("activities/bytes/1000"),
            "16,000 (Temporal's Rust SDK)",
        ),
        row(
            "replay: cost per event at 100,000 events against 100, decoded / from bytes",
            "≤ 1.1",
            format!("{} / {}", per_event("decoded"), per_event("bytes")),
            "3 (duroxide, at 10,000)",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::measurements::Results;
    use super::table;

    #[test]
    fn measured_figures_stand_beside_their_goals_and_gaps_are_named() {
        let results = Results::default()
            .with("same", "runs_per_second", 21_234.0)
            .with("replay", "activities/decoded/100", 30_000.0)
            .with("replay", "activities/decoded/100000", 33_000_000.0);
        let table = table(&results);
        assert!(table.contains("| ≥ 20,000 | 21,234 | 603 (Restate) |"), "{table}");
        assert!(table.contains("| ≤ 1.1 | 1.1 / not measured |"), "{table}");
        assert!(table.contains("| ≤ 30 | not measured | 240–6,000 |"), "{table}");
    }
}
