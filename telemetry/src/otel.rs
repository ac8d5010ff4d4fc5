//! OpenTelemetry: runs continue the traces in which they were started, and a meter observes the metrics of workers. It must
//! not know single metrics, and sets no global state: the program makes its providers and its exporter.

use opentelemetry::metrics::{AsyncInstrument, Meter};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use pgworkflows_core::trace::tracing::Span;
use pgworkflows_core::trace::{TraceContext, TracePropagator};
use pgworkflows_core::worker::{Durations, Metric, MetricValue, WorkerMetrics, WorkerMonitor};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Connects runs with the spans of OpenTelemetry that the layer of `tracing-opentelemetry` makes: give it to every client
/// and worker. Each pass of a run and each attempt then is a span of the trace in which the run was started, whatever
/// process executes it, and runs that an attempt starts are in that trace, too. The pass that takes a signal or an update has a
/// link to the span that sent it. The state of a trace (`tracestate`) is not carried along.
///
/// ```
/// use pgworkflows::otel::OtelPropagator;
/// use pgworkflows::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// # let store = pgworkflows::MemoryStore::new();
/// let client = Client::builder(store.clone()).trace_propagator(OtelPropagator).build()?;
/// let worker = Worker::builder(store).trace_propagator(OtelPropagator).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OtelPropagator;

impl TracePropagator for OtelPropagator {
    /// The span of `tracing` in which the caller is or, without one, the span that is active in OpenTelemetry.
    fn current(&self) -> Option<TraceContext> {
        place(&Span::current().context()).or_else(|| place(&Context::current()))
    }

    fn continue_in(&self, span: &Span, parent: &TraceContext) {
        // Without a layer that makes spans of OpenTelemetry, there is nothing to continue.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote(parent)));
    }

    fn link(&self, span: &Span, to: &TraceContext) {
        span.add_link(remote(to));
    }
}

/// A place that may be in another process.
fn remote(place: &TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(place.trace_id()),
        SpanId::from_bytes(place.span_id()),
        TraceFlags::new(place.flags()),
        true,
        TraceState::default(),
    )
}

fn place(context: &Context) -> Option<TraceContext> {
    let span = context.span();
    let place = span.span_context();
    TraceContext::new(place.trace_id().to_bytes(), place.span_id().to_bytes(), place.trace_flags().to_u8())
}

/// Has a meter observe all metrics of these workers, with the attributes `worker` and `queue`. OpenTelemetry can observe no
/// histograms of others, so a histogram becomes three counters, as in Prometheus: `…_count`, `…_sum` in seconds, and
/// `…_bucket` with the attribute `le`.
///
/// ```
/// use pgworkflows::otel::opentelemetry;
/// use pgworkflows::{MemoryStore, Worker};
///
/// let worker = Worker::builder(MemoryStore::new()).build()?;
/// // The global meter provider is the one that the program has set.
/// pgworkflows::otel::observe(&opentelemetry::global::meter("pgworkflows"), vec![worker.monitor()]);
/// # Ok::<(), pgworkflows::Error>(())
/// ```
pub fn observe(meter: &Meter, workers: Vec<WorkerMonitor>) {
    for Metric { name, help, value } in WorkerMetrics::default().all() {
        let workers = workers.clone();
        match value {
            MetricValue::Counter(_) => {
                let counter = meter.u64_observable_counter(name).with_description(help);
                counter.with_callback(move |to| observe_number(&workers, name, to)).build();
            }
            MetricValue::Gauge(_) => {
                let gauge = meter.u64_observable_gauge(name).with_description(help);
                gauge.with_callback(move |to| observe_number(&workers, name, to)).build();
            }
            MetricValue::Durations(_) => observe_durations(meter, name, help, workers),
            _ => {}
        }
    }
}

fn observe_number(workers: &[WorkerMonitor], name: &'static str, to: &dyn AsyncInstrument<u64>) {
    each(workers, name, |value, labels| {
        if let MetricValue::Counter(number) | MetricValue::Gauge(number) = value {
            to.observe(number, labels);
        }
    });
}

fn observe_durations(meter: &Meter, name: &'static str, help: &'static str, workers: Vec<WorkerMonitor>) {
    let (counts, sums) = (workers.clone(), workers.clone());
    let counter = meter.u64_observable_counter(format!("{name}_count")).with_description(help);
    let count = move |to: &dyn AsyncInstrument<u64>| {
        each_histogram(&counts, name, |durations, labels| to.observe(durations.count(), labels));
    };
    counter.with_callback(count).build();
    let counter = meter.f64_observable_counter(format!("{name}_sum")).with_description(help).with_unit("s");
    let sum = move |to: &dyn AsyncInstrument<f64>| {
        each_histogram(&sums, name, |durations, labels| to.observe(durations.sum().as_secs_f64(), labels));
    };
    counter.with_callback(sum).build();
    let counter = meter.u64_observable_counter(format!("{name}_bucket")).with_description(help);
    let buckets = move |to: &dyn AsyncInstrument<u64>| {
        each_histogram(&workers, name, |durations, labels| {
            let mut so_far = 0;
            for (bound, count) in durations.buckets() {
                so_far += count;
                let is_last = bound == std::time::Duration::MAX;
                let le = if is_last { "+Inf".to_owned() } else { bound.as_secs_f64().to_string() };
                to.observe(so_far, &[labels, &[KeyValue::new("le", le)]].concat());
            }
        });
    };
    counter.with_callback(buckets).build();
}

fn each_histogram(workers: &[WorkerMonitor], name: &'static str, take: impl Fn(&Durations, &[KeyValue])) {
    each(workers, name, |value, labels| {
        if let MetricValue::Durations(durations) = value {
            take(durations, labels);
        }
    });
}

/// Takes a metric of each worker, with the attributes of the worker.
fn each(workers: &[WorkerMonitor], name: &'static str, take: impl Fn(MetricValue<'_>, &[KeyValue])) {
    for worker in workers {
        let metrics = worker.metrics();
        let labels = [("worker", &metrics.worker), ("queue", &metrics.queue)];
        let labels = labels.map(|(label, value)| KeyValue::new(label, value.clone()));
        let found = metrics.all().into_iter().find(|metric| metric.name == name);
        found.into_iter().for_each(|metric| take(metric.value, &labels));
    }
}

// Its types are in signatures.
pub use opentelemetry;
