//! The document lists every log line, span and metric, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows::MemoryStore;
use pgworkflows::worker::{MetricValue, WorkerMetrics};

use crate::collector::Seen;
use crate::document::{Row, assert_same, quoted, rows};
use crate::sources::log_lines;
use crate::world::drive;

/// Lines about runs that need a process which dies: see `core/tests/worker/observed.rs`.
const NOT_DRIVEN: [&str; 1] = ["an attempt ended with its process"];

#[test]
fn every_log_line_of_the_sources_is_documented_with_its_level_and_its_fields() {
    assert_same("log lines", &log_lines(), &rows("## Log lines"));
}

#[tokio::test]
async fn world_writes_the_documented_lines_about_runs_and_no_line_that_is_not_documented() {
    let seen = Seen::listen();
    drive(MemoryStore::new()).await;
    seen.end();

    let documented = rows("## Log lines");
    let levels: BTreeMap<&str, &str> =
        documented.iter().map(|row| (row[1].as_str(), row[0].as_str())).collect();
    let written: BTreeSet<String> = seen.lines().into_iter().map(|line| line.message).collect();
    for line in seen.lines() {
        // Lines with something in braces begin with what is before it.
        let is_of = |(message, level): (&&str, &&str)| {
            let begins = message.split('{').next().unwrap_or_default();
            (line.message == **message || message.contains('{') && line.message.starts_with(begins))
                && line.level == **level
        };
        assert!(levels.iter().any(is_of), "{line:?}");
    }
    for row in rows("### Runs") {
        assert!(
            written.contains(&row[1]) || NOT_DRIVEN.contains(&row[1].as_str()),
            "{row:?} was not written"
        );
    }
    for message in ["an attempt of a step failed", "the worker has started", "the worker has stopped"] {
        assert!(written.contains(message), "{message}");
    }
}

#[tokio::test]
async fn spans_of_a_world_are_those_that_are_documented() {
    let seen = Seen::listen();
    drive(MemoryStore::new()).await;
    seen.end();

    let documented: BTreeSet<Row> = rows("## Spans").into_iter().map(|row| row[..3].to_vec()).collect();
    let made = seen.spans().into_iter().map(|span| {
        let documented = documented.iter().find(|row| row[0] == span.name);
        let order = documented.map(|row| row[2].clone()).unwrap_or_default();
        // In the order of the document.
        let mut names: Vec<&str> = span.names.iter().copied().collect();
        names.sort_by_key(|name| order.find(&format!("`{name}`")));
        vec![span.name.to_owned(), span.level, quoted(names)]
    });
    assert_same("spans", &made.collect(), &documented);
    // Users' own lines are in them, with their values
    for (message, span, fields) in [
        ("the workflow speaks", "run", &["run", "workflow", "key"][..]),
        ("the activity speaks", "attempt", &["run", "workflow", "key", "activity", "call", "attempt"]),
        ("the step speaks", "attempt", &["run", "workflow", "key", "activity", "call", "attempt"]),
    ] {
        let lines = seen.all_lines();
        let line = lines.iter().find(|line| line.message == message).expect(message);
        let around = line.spans.iter().find(|around| around.name == span).expect(message);
        for field in fields {
            assert!(around.fields.contains_key(field), "{message}: {around:?}");
        }
    }
}

#[tokio::test]
async fn metrics_are_those_that_are_documented_and_count_what_happens() {
    let monitor = drive(MemoryStore::new()).await.monitor;
    let page = pgworkflows::prometheus::text([&monitor]);
    let described = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let kinds: BTreeMap<&str, &str> = described.filter_map(|line| line.split_once(' ')).collect();
    let helps = page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let code: BTreeSet<Row> =
        helps.map(|(name, help)| vec![name.to_owned(), kinds[name].to_owned(), help.to_owned()]).collect();
    assert_same("metrics", &code, &rows("## Metrics"));
    assert_eq!(code.len(), WorkerMetrics::default().all().len());

    let metrics = monitor.metrics();
    assert!(metrics.runs_started >= 9 && metrics.runs_completed >= 3, "{metrics:?}");
    assert_eq!((metrics.runs_failed, metrics.runs_retried, metrics.runs_continued), (2, 1, 2), "{metrics:?}");
    assert_eq!(
        (metrics.runs_cancelled, metrics.runs_timed_out, metrics.runs_stalled),
        (1, 1, 3),
        "{metrics:?}"
    );
    assert_eq!(metrics.runs_terminated, 4, "{metrics:?}");
    assert!(metrics.attempts_failed > 3 && metrics.attempts_started > metrics.attempts_failed, "{metrics:?}");
    assert_eq!(metrics.attempt_seconds.count(), metrics.attempts_started, "{metrics:?}");
    assert!(metrics.appends > 0 && metrics.append_seconds.count() == metrics.appends, "{metrics:?}");
    assert!(
        metrics.events_appended > metrics.runs_started && metrics.bytes_appended > metrics.events_appended
    );
    assert!(metrics.messages_taken > 3, "{metrics:?}");
    assert_eq!((metrics.slots_used, metrics.live_runs, metrics.shards), (0, 0, 0), "the worker has stopped");
    assert!(metrics.all().iter().all(|metric| metric.value != MetricValue::Gauge(u64::MAX)));
}
