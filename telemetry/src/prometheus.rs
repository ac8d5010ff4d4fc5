//! The metrics of workers in the text format of Prometheus: what an HTTP server answers at `/metrics`. It must not know
//! single metrics.

use std::fmt;
use std::time::Duration;

use pgworkflows_core::worker::{Durations, Metric, MetricValue, WorkerMetrics, WorkerMonitor};
use prometheus_client::collector::Collector;
pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

/// All metrics of these workers at this moment, as a page for Prometheus. Each line has the labels `worker` and `queue`, so
/// workers of one process need different names. `docs/observability.md` lists the metrics; the program `metrics` of the
/// examples serves the page.
///
/// ```
/// use pgworkflows::{MemoryStore, Worker};
///
/// let worker = Worker::builder(MemoryStore::new()).name("emails-1").build()?;
/// let page = pgworkflows::prometheus::text([&worker.monitor()]);
/// assert!(page.contains(r#"pgworkflows_runs_started_total{worker="emails-1",queue="default"} 0"#), "{page}");
/// # Ok::<(), pgworkflows::Error>(())
/// ```
pub fn text<'a>(workers: impl IntoIterator<Item = &'a WorkerMonitor>) -> String {
    let mut registry = Registry::default();
    let snapshots = workers.into_iter().map(WorkerMonitor::metrics).collect();
    registry.register_collector(Box::new(Snapshots(snapshots)));
    let mut page = String::new();
    prometheus_text::encode(&mut page, &registry).expect("a string takes any text");
    page
}

#[derive(Debug)]
struct Snapshots(Vec<WorkerMetrics>);

impl Collector for Snapshots {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics: Vec<Vec<Metric<'_>>> = self.0.iter().map(WorkerMetrics::all).collect();
        let Some(first) = metrics.first() else { return Ok(()) };
        for (index, Metric { name, help, value }) in first.iter().enumerate() {
            let mut family = encoder.encode_descriptor(name, help, None, type_of(value))?;
            for (worker, metrics) in self.0.iter().zip(&metrics) {
                let labels = [("worker", worker.worker.as_str()), ("queue", worker.queue.as_str())];
                write(family.encode_family(&labels)?, metrics[index].value)?;
            }
        }
        Ok(())
    }
}

fn type_of(value: &MetricValue<'_>) -> MetricType {
    match value {
        MetricValue::Counter(_) => MetricType::Counter,
        MetricValue::Gauge(_) => MetricType::Gauge,
        MetricValue::Durations(_) => MetricType::Histogram,
        _ => MetricType::Unknown,
    }
}

fn write(mut to: MetricEncoder<'_>, value: MetricValue<'_>) -> fmt::Result {
    match value {
        MetricValue::Counter(count) => to.encode_counter(&count, None::<&Exemplar<NoLabelSet, u64>>),
        MetricValue::Gauge(value) => to.encode_gauge(&value),
        MetricValue::Durations(durations) => {
            let buckets = buckets(durations);
            to.encode_histogram::<NoLabelSet>(
                durations.sum().as_secs_f64(),
                durations.count(),
                &buckets,
                None,
            )
        }
        _ => Ok(()),
    }
}

/// The bounds of the buckets in seconds, and how many durations each has.
fn buckets(durations: &Durations) -> Vec<(f64, u64)> {
    let seconds = |bound: Duration| match bound {
        Duration::MAX => f64::INFINITY,
        bound => bound.as_secs_f64(),
    };
    durations.buckets().map(|(bound, count)| (seconds(bound), count)).collect()
}
