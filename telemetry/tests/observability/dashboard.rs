//! The dashboard for Grafana uses only metrics that exist, and nearly all of them.

use std::collections::BTreeSet;

use pgworkflows::serde_json::{self, Value};
use pgworkflows::worker::{MetricValue, WorkerMetrics};

/// Every name that a query of the dashboard may use.
fn names() -> BTreeSet<String> {
    let metrics = WorkerMetrics::default();
    let suffixes = |value: MetricValue<'_>| match value {
        MetricValue::Counter(_) => &["_total"][..],
        MetricValue::Durations(_) => &["_bucket", "_count", "_sum"],
        _ => &[""],
    };
    let names = metrics.all().into_iter();
    names
        .flat_map(|metric| {
            suffixes(metric.value).iter().map(move |suffix| format!("{}{suffix}", metric.name))
        })
        .collect()
}

#[test]
fn dashboard_uses_only_metrics_that_exist() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana/pgworkflows.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().expect("it has panels");
    // In all texts: the queries of panels and of the variables above them
    let known = names();
    let text = dashboard.to_string();
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let used: BTreeSet<&str> = words.filter(|word| word.starts_with("pgworkflows_")).collect();
    for word in &used {
        assert!(known.contains(*word), "{word} is no metric");
    }
    assert!(used.len() > 15, "{used:?}");
    for panel in panels {
        assert!(!panel["title"].as_str().unwrap_or_default().is_empty(), "{panel}");
    }
}
