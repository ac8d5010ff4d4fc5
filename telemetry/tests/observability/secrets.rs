//! No payload is in any line, span, metric or error, whatever the level.

use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use pgworkflows::otel::opentelemetry::metrics::MeterProvider;
use pgworkflows::store::Store;
use pgworkflows::worker::WorkerMonitor;
use pgworkflows::{MemoryStore, PostgresStore};
use pgworkflows_pg_harness::Postgres;

use crate::collector::Seen;
use crate::world::{Driven, File, SECRET, drive};

#[tokio::test]
async fn payloads_appear_nowhere_with_the_memory_store() {
    assert_no_secret(MemoryStore::new()).await;
}

#[tokio::test]
async fn payloads_appear_nowhere_with_postgres() {
    let database = Postgres::shared().create_database().unwrap();
    let store = PostgresStore::connect(database.url()).await.unwrap();
    assert_no_secret(store).await;
}

#[tokio::test]
async fn payloads_appear_nowhere_with_sqlite() {
    let file = File::new("observability");
    assert_no_secret(file.open().await).await;
}

async fn assert_no_secret(store: impl Store + Clone) {
    let seen = Seen::listen();
    let Driven { monitor, errors } = drive(store).await;
    seen.end();
    let lines = seen.all_lines();
    assert!(
        lines.iter().any(|line| line.level == "trace" && line.message == "an event"),
        "every level is seen"
    );
    assert!(lines.iter().any(|line| line.message == "a run stalled"), "a payload was refused");
    for line in &lines {
        assert!(!format!("{line:?}").contains(SECRET), "{line:?}");
    }
    for span in seen.spans() {
        assert!(!format!("{span:?}").contains(SECRET), "{span:?}");
    }
    let page = pgworkflows::prometheus::text([&monitor]);
    assert!(page.contains("pgworkflows_runs_failed") && !page.contains(SECRET), "{page}");
    let exported = exported(monitor);
    assert!(exported.contains("pgworkflows_runs_failed") && !exported.contains(SECRET), "{exported}");
    assert!(errors.len() > 20, "{errors:?}");
    for error in &errors {
        assert!(!error.contains(SECRET), "{error}");
    }
}

/// The metrics of a worker as OpenTelemetry exports them.
fn exported(monitor: WorkerMonitor) -> String {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    pgworkflows::otel::observe(&provider.meter("tests"), vec![monitor]);
    provider.force_flush().unwrap();
    format!("{:?}", exporter.get_finished_metrics().unwrap())
}
