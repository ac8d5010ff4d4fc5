//! What a program with OpenTelemetry puts in place, with exporters that drop what they get. It must not know what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter,
};
use pgworkflows::otel::opentelemetry::global;
use pgworkflows::otel::opentelemetry::trace::TracerProvider;
use pgworkflows::worker::WorkerMonitor;
use serde::Serialize;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

use crate::Failure;

/// How many spans wait for their export: by default so few that most would be dropped under load, which costs less.
const SPANS_WAITING: usize = 1 << 18;

/// How many spans are exported at a time.
const SPANS_EXPORTED: usize = 4096;

/// How often metrics are exported. The usual interval is a minute.
const METRICS_EVERY: Duration = Duration::from_secs(1);

/// What is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Telemetry {
    /// Nothing: there is no subscriber.
    #[default]
    Off,
    /// Traces: every span, and the place at which each run is started.
    Traces,
    /// The metrics of all workers.
    Metrics,
    /// Traces and metrics.
    Both,
}

impl Telemetry {
    /// Whether spans are exported.
    pub fn has_traces(self) -> bool {
        matches!(self, Self::Traces | Self::Both)
    }

    /// Whether metrics are exported.
    pub fn has_metrics(self) -> bool {
        matches!(self, Self::Metrics | Self::Both)
    }

    /// Exports what this process tells from now on.
    ///
    /// # Errors
    /// If it is done a second time.
    pub fn install(self) -> Result<Exported, Failure> {
        let mut exported = Exported::default();
        if self.has_traces() {
            let config = BatchConfigBuilder::default()
                .with_max_queue_size(SPANS_WAITING)
                .with_max_export_batch_size(SPANS_EXPORTED);
            let spans = Spans(Arc::clone(&exported.spans));
            let processor = BatchSpanProcessor::builder(spans).with_batch_config(config.build()).build();
            let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("measure"));
            // As docs/observability.md says.
            let layer = layer.with_location(false).with_threads(false);
            let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(layer);
            pgworkflows::trace::tracing::subscriber::set_global_default(subscriber)?;
            exported.provider = Some(provider);
        }
        if self.has_metrics() {
            let reader = PeriodicReader::builder(Metrics).with_interval(METRICS_EVERY).build();
            global::set_meter_provider(SdkMeterProvider::builder().with_reader(reader).build());
        }
        Ok(exported)
    }

    /// Exports the metrics of these workers, if any are.
    pub(crate) fn observe(self, workers: Vec<WorkerMonitor>) {
        if self.has_metrics() {
            pgworkflows::otel::observe(&global::meter("pgworkflows"), workers);
        }
    }
}

/// What this process exported.
#[derive(Debug, Default)]
pub struct Exported {
    provider: Option<SdkTracerProvider>,
    spans: Arc<AtomicU64>,
}

impl Exported {
    /// How many spans, with those that waited until now.
    ///
    /// # Errors
    /// If they cannot be exported.
    pub fn spans(&self) -> Result<u64, Failure> {
        self.provider.as_ref().map_or(Ok(()), SdkTracerProvider::force_flush)?;
        Ok(self.spans.load(Ordering::Relaxed))
    }
}

/// Counts spans, and drops them.
#[derive(Debug)]
struct Spans(Arc<AtomicU64>);

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Drops metrics.
#[derive(Debug)]
struct Metrics;

impl PushMetricExporter for Metrics {
    async fn export(&self, _metrics: &ResourceMetrics) -> OTelSdkResult {
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::default()
    }
}
