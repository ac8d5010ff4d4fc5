//! Traces, as OpenTelemetry exports them: what the spans of runs continue, and what they are linked to.

mod messages;
mod secrets;
mod starts;
#[path = "../observability/world.rs"]
mod world;

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use pgworkflows::client::{RunStatus, RunType};
use pgworkflows::otel::OtelPropagator;
use pgworkflows::otel::opentelemetry::trace::{TraceId, TracerProvider};
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows::{MemoryStore, RunHandle};
use tracing_subscriber::layer::SubscriberExt;

/// Collects the spans of this process.
fn exporter() -> InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    let exporter = EXPORTER.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests"));
        let subscriber = tracing_subscriber::registry().with(layer);
        pgworkflows::trace::tracing::subscriber::set_global_default(subscriber).unwrap();
        exporter
    });
    exporter.clone()
}

/// The collector, a store, and a client of it that is traced.
fn begin() -> (InMemorySpanExporter, MemoryStore, Client) {
    let (exporter, store) = (exporter(), MemoryStore::new());
    let client = Client::builder(store.clone()).trace_propagator(OtelPropagator).build().unwrap();
    (exporter, store, client)
}

fn built(worker: WorkerBuilder) -> Worker {
    let worker = worker.processors(1).lease_ttl(Duration::from_secs(1));
    worker.trace_propagator(OtelPropagator).build().unwrap()
}

async fn waits<W: RunType>(run: &RunHandle<W>) {
    while run.status().await.unwrap() != RunStatus::Waiting {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The only span of this name.
fn only<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    let named: Vec<&SpanData> = spans.iter().filter(|span| span.name == name).collect();
    let [span] = named[..] else { panic!("{} spans of name {name}", named.len()) };
    span
}

/// What the attempts in a trace were of, in the order in which they ended.
fn steps_in(spans: &[SpanData], trace: TraceId) -> Vec<String> {
    let attempts =
        spans.iter().filter(|span| span.name == "attempt" && span.span_context.trace_id() == trace);
    attempts.map(|span| attribute(span, "activity")).collect()
}

/// The value of an attribute of a span.
fn attribute(span: &SpanData, key: &str) -> String {
    let attribute = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    attribute.map(|attribute| attribute.value.to_string()).unwrap_or_default()
}
