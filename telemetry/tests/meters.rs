//! A meter of OpenTelemetry observes every metric of every worker.

use std::collections::BTreeSet;

use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use pgworkflows::MemoryStore;
use pgworkflows::otel::opentelemetry::metrics::MeterProvider;
use pgworkflows::prelude::*;
use pgworkflows::worker::{MetricValue, WorkerMetrics};

#[workflow(name = "greeting")]
async fn greeting(ctx: Context, name: String) -> WorkflowResult<String> {
    ctx.step("greet", move || {
        let name = name.clone();
        async move { Ok(format!("Hello, {name}!")) }
    })
    .await
}

#[tokio::test]
async fn meter_observes_every_metric_of_every_worker() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    let store = MemoryStore::new();
    let worker =
        Worker::builder(store.clone()).name("one").workflow::<greeting>().processors(1).build().unwrap();
    let other = Worker::builder(store.clone()).name("other").build().unwrap();
    pgworkflows::otel::observe(&provider.meter("tests"), vec![worker.monitor(), other.monitor()]);
    let client = Client::new(store);
    let script =
        async { drop(client.start::<greeting>("Ada".to_owned()).await.unwrap().result().await.unwrap()) };
    worker.run_on_this_thread(script).await.unwrap();
    provider.force_flush().unwrap();

    let exported = exporter.get_finished_metrics().unwrap();
    let scopes = exported.iter().flat_map(|resource| resource.scope_metrics());
    let metrics: Vec<_> = scopes.flat_map(|scope| scope.metrics()).collect();
    let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name()).collect();
    let expected: BTreeSet<String> = WorkerMetrics::default().all().iter().flat_map(names_of).collect();
    assert_eq!(names, expected.iter().map(String::as_str).collect());

    let started = metrics.iter().find(|metric| metric.name() == "pgworkflows_runs_started").unwrap();
    let AggregatedMetrics::U64(MetricData::Sum(sum)) = started.data() else { panic!("{started:?}") };
    let mut counts: Vec<(String, u64)> = sum
        .data_points()
        .map(|point| {
            let worker = point.attributes().find(|attribute| attribute.key.as_str() == "worker").unwrap();
            (worker.value.to_string(), point.value())
        })
        .collect();
    counts.sort();
    assert_eq!(counts, [("one".to_owned(), 1), ("other".to_owned(), 0)]);
}

fn names_of(metric: &pgworkflows::worker::Metric<'_>) -> Vec<String> {
    match metric.value {
        MetricValue::Durations(_) => {
            ["_count", "_sum", "_bucket"].map(|end| format!("{}{end}", metric.name)).to_vec()
        }
        _ => vec![metric.name.to_owned()],
    }
}
