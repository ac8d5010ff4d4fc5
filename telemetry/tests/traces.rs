//! A trace runs from the client through every pass and attempt, across processes, crash and replay, and into children.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use pgworkflows::MemoryStore;
use pgworkflows::client::RunStatus;
use pgworkflows::history::Event;
use pgworkflows::otel::OtelPropagator;
use pgworkflows::otel::opentelemetry::trace::{TraceId, TracerProvider};
use pgworkflows::prelude::*;
use pgworkflows::trace::{TraceContext, TracePropagator, tracing};
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

const GO: Signal<String> = Signal::new("go");

#[workflow(name = "child")]
async fn child(ctx: Context, (): ()) -> WorkflowResult<()> {
    ctx.step("in-child", || async { Ok(()) }).await
}

#[workflow(name = "traced")]
async fn traced(ctx: Context, (): ()) -> WorkflowResult<()> {
    ctx.step("before", || async { Ok(()) }).await?;
    ctx.wait_for(GO).await?;
    ctx.step("after", || async { Ok(()) }).await?;
    ctx.child::<child>(()).await
}

/// Collects the spans of this process.
fn exporter() -> InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    let exporter = EXPORTER.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests"));
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
        exporter
    });
    exporter.clone()
}

fn worker(store: &MemoryStore) -> Worker {
    let worker = Worker::builder(store.clone()).workflow::<traced>().workflow::<child>().processors(1);
    let worker = worker.lease_ttl(Duration::from_secs(1));
    worker.trace_propagator(OtelPropagator).build().unwrap()
}

/// The spans of this name, with the activity that their attempt was of.
fn named(spans: &[SpanData], name: &str) -> Vec<(String, TraceId)> {
    let of = |span: &SpanData| {
        let activity = span.attributes.iter().find(|attribute| attribute.key.as_str() == "activity");
        activity.map(|attribute| attribute.value.to_string()).unwrap_or_default()
    };
    let spans = spans.iter().filter(|span| span.name == name);
    spans.map(|span| (of(span), span.span_context.trace_id())).collect()
}

#[tokio::test]
async fn trace_goes_on_in_another_process_after_a_crash_and_in_a_child() {
    let exporter = exporter();
    // Given a run that a traced client started, and whose process crashed while it waited
    let store = MemoryStore::new();
    let client = Client::builder(store.clone()).trace_propagator(OtelPropagator).build().unwrap();
    let start = async { client.start::<traced>(()).await.unwrap() };
    let first = worker(&store);
    let script = async {
        let run = start.instrument(tracing::info_span!("request")).await;
        while run.status().await.unwrap() != RunStatus::Waiting {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        run
    };
    let run = tokio::select! {
        run = script => run,
        ended = first.run_on_this_thread(std::future::pending()) => panic!("{ended:?}"),
    };

    // When another one goes on
    run.signal(GO, "on".to_owned()).await.unwrap();
    let rest = async { run.result().await.unwrap() };
    worker(&store).run_on_this_thread(rest).await.unwrap();

    // Then everything is in the trace of the request
    let spans = exporter.get_finished_spans().unwrap();
    let request = named(&spans, "request");
    let [(_, trace)] = request[..] else { panic!("{request:?}") };
    let attempts: Vec<_> = named(&spans, "attempt").into_iter().filter(|(_, of)| *of == trace).collect();
    for step in ["before", "after", "in-child"] {
        assert!(attempts.iter().any(|(activity, _)| activity == step), "{step}: {attempts:?}");
    }
    let passes = named(&spans, "run").into_iter().filter(|(_, of)| *of == trace).count();
    assert!(passes >= 6, "{passes} passes");
    let history = run.history().await.unwrap();
    let Event::RunStarted { trace: Some(stored), .. } = &history[0].event else { panic!("{history:?}") };
    assert_eq!(stored.trace_id(), trace.to_bytes());
}

#[tokio::test]
async fn nothing_is_stored_without_a_propagator_or_outside_of_a_trace() {
    exporter();
    let store = MemoryStore::new();
    let plain = Client::new(store.clone());
    let untraced = Client::builder(store.clone()).trace_propagator(OtelPropagator).build().unwrap();
    let script = async {
        for client in [plain, untraced] {
            let run = client.start::<child>(()).await.unwrap();
            run.result().await.unwrap();
            let history = run.history().await.unwrap();
            assert!(matches!(&history[0].event, Event::RunStarted { trace: None, .. }), "{history:?}");
        }
    };
    worker(&store).run_on_this_thread(script).await.unwrap();
}

/// A propagator that panics.
#[derive(Debug)]
struct Hostile;

impl TracePropagator for Hostile {
    fn current(&self) -> Option<TraceContext> {
        panic!("a bad propagator")
    }

    fn continue_in(&self, _: &tracing::Span, _: &TraceContext) {
        panic!("a bad propagator")
    }
}

#[tokio::test]
async fn propagator_that_panics_harms_no_run() {
    let store = MemoryStore::new();
    exporter();
    let hostile = Client::builder(store.clone()).trace_propagator(Hostile).build().unwrap();
    let client = Client::builder(store.clone()).trace_propagator(OtelPropagator).build().unwrap();
    let worker =
        Worker::builder(store).workflow::<child>().processors(1).trace_propagator(Hostile).build().unwrap();
    let script = async {
        for client in [hostile, client] {
            let start = async { client.start::<child>(()).await.unwrap() };
            start.instrument(tracing::info_span!("apart")).await.result().await.unwrap();
        }
    };
    worker.run_on_this_thread(script).await.unwrap();
}
