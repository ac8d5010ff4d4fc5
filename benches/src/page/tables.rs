//! The tables and plots of the page.

use super::measurements::Results;
use super::svg::{Bar, bars, lines};

const LOADS: [(&str, &str); 9] = [
    ("same", "one activity"),
    ("other", "one activity, client in another process"),
    ("five", "five sequential activities"),
    ("steps", "five steps"),
    ("fanout", "20 activities at the same time"),
    ("signals", "one signal"),
    ("timers", "one timer of 100 ms"),
    ("second", "50,000 timers due within one second"),
    ("memory", "one activity, memory store"),
];

const GROWTH: [(&str, &str); 8] = [
    ("closed", "over closed runs"),
    ("events", "over events"),
    ("parked", "over parked runs"),
    ("partitions-1", "1 partition more"),
    ("partitions-10", "10 partitions"),
    ("partitions-60", "60 partitions"),
    ("snapshot", "with a snapshot held"),
    ("neighbour", "beside a writer"),
];

const SIZES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];

/// What everything was measured on.
pub(super) fn machine(results: &Results) -> String {
    let whole = |name: &str| results.get("machine", name).map(number).unwrap_or_default();
    format!(
        "{} cores of {}, {} GiB of memory, Linux {}, {} on the same machine.",
        whole("cores"),
        results.words("machine", "model").unwrap_or("an unknown kind"),
        whole("memory_gib"),
        results.words("machine", "kernel").unwrap_or("of an unknown version"),
        results.words("same", "store").unwrap_or("PostgreSQL"),
    )
}

/// What each load costs.
pub(super) fn loads(results: &Results) -> String {
    let columns = [
        ("runs/s", "runs_per_second"),
        ("idle p50 ms", "idle_latency_p50_ms"),
        ("idle p99 ms", "idle_latency_p99_ms"),
        ("loaded p50 ms", "latency_p50_ms"),
        ("loaded p99 ms", "latency_p99_ms"),
        ("commits/run", "write_commits_per_run"),
        ("WAL bytes/run", "wal_bytes_per_run"),
        ("rows in/run", "rows_inserted_per_run"),
        ("CPU µs/run", "cpu_us_per_run"),
        ("peak MiB", "client_peak_memory_mib"),
    ];
    by_measurement(results, "a run has", &LOADS, &columns)
}

/// What growth does to throughput.
pub(super) fn growth(results: &Results) -> String {
    let columns = [
        ("runs/s without", "runs_per_second_without"),
        ("runs/s", "runs_per_second"),
        ("share %", "share_percent"),
        ("events in the log", "events_in_log"),
        ("parked runs", "parked_runs"),
        ("seconds held", "seconds_held"),
        ("neighbour's commits/s", "neighbour_commits_per_second"),
    ];
    by_measurement(results, "throughput", &GROWTH, &columns)
}

/// Nanoseconds per event.
pub(super) fn replay(results: &Results) -> String {
    let rows: Vec<Vec<String>> = ["activities", "timers", "fan-out", "signals"]
        .into_iter()
        .flat_map(|kind| [format!("{kind}/decoded"), format!("{kind}/bytes")])
        .map(|kind| {
            let cost = |size: u32| per_event(results, &kind, size).map_or_else(String::new, number);
            [kind.replace('/', ", ")].into_iter().chain(SIZES.map(cost)).collect()
        })
        .collect();
    table(&["ns per event", "10 events", "100", "1,000", "10,000", "100,000"], &rows)
}

/// The shares of throughput that are left.
pub(super) fn growth_plot(results: &Results) -> String {
    let bar = |(name, label): &(&str, &str)| {
        let value = results.get(name, "share_percent")?;
        Some(Bar { label: (*label).to_owned(), value })
    };
    bars("Throughput against an empty database, %", &GROWTH.iter().filter_map(bar).collect::<Vec<_>>(), 90.0)
}

/// The cost of an event by the length of its history.
pub(super) fn replay_plot(results: &Results) -> String {
    let line = |kind: &str| {
        let points =
            SIZES.iter().filter_map(|size| Some((f64::from(*size), per_event(results, kind, *size)?)));
        (kind.replace('/', ", "), points.collect::<Vec<_>>())
    };
    let kinds = ["activities/decoded", "activities/bytes", "timers/bytes", "fan-out/bytes", "signals/bytes"];
    lines("Replay: ns per event by events in the history", &kinds.map(line))
}

fn per_event(results: &Results, kind: &str, size: u32) -> Option<f64> {
    Some(results.get("replay", &format!("{kind}/{size}"))? / f64::from(size))
}

fn by_measurement(
    results: &Results,
    what: &str,
    measurements: &[(&str, &str)],
    columns: &[(&str, &str)],
) -> String {
    let rows: Vec<Vec<String>> = measurements
        .iter()
        .map(|(name, label)| {
            let cells =
                columns.iter().map(|(_, figure)| results.get(name, figure).map(number).unwrap_or_default());
            [(*label).to_owned()].into_iter().chain(cells).collect()
        })
        .collect();
    let head: Vec<&str> = [what].into_iter().chain(columns.iter().map(|(head, _)| *head)).collect();
    table(&head, &rows)
}

/// A table in Markdown.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    [line(head.to_vec()), rule].into_iter().chain(rows).collect()
}

/// A number as people write it: thousands apart, three digits that count where it is small.
pub(super) fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        let decimals =
            if value == 0.0 { 0 } else { (2.0 - value.abs().log10().floor()).clamp(0.0, 4.0) as usize };
        let text = format!("{value:.decimals$}");
        return if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        };
    }
    let digits = format!("{:.0}", value.abs());
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    format!("{}{}", if value < 0.0 { "-" } else { "" }, groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::{number, table};

    #[test]
    fn numbers_are_written_for_people() {
        let written = [0.0, 0.01234, 1.0, 1.204, 34.56, 123.4, 1_234_567.8, -1_234.0].map(number);
        assert_eq!(written, ["0", "0.0123", "1", "1.2", "34.6", "123", "1,234,568", "-1,234"]);
    }

    #[test]
    fn table_is_markdown() {
        let rows = [vec!["x".to_owned(), "1".to_owned()]];
        assert_eq!(table(&["a", "b"], &rows), "| a | b |\n|---|---|\n| x | 1 |\n");
    }
}
