//! No payload is in what OpenTelemetry exports: spans, their events, which are the lines of the log, and their links.

use pgworkflows::MemoryStore;
use pgworkflows::store::Store;

use crate::exporter;
use crate::world::{Driven, File, SECRET, drive};

#[tokio::test]
async fn payloads_appear_in_no_exported_span() {
    assert_no_secret(MemoryStore::new()).await;
}

#[tokio::test]
async fn payloads_appear_in_no_exported_span_with_sqlite() {
    let file = File::new("traces");
    assert_no_secret(file.open().await).await;
}

async fn assert_no_secret(store: impl Store + Clone) {
    let exporter = exporter();
    let Driven { monitor, errors } = drive(store).await;
    assert!(monitor.metrics().runs_started > 9 && errors.len() > 20);
    let spans = exporter.get_finished_spans().unwrap();
    assert!(spans.iter().any(|span| span.name == "attempt"));
    assert!(spans.iter().any(|span| span.events.iter().any(|event| event.name == "the activity speaks")));
    for span in spans {
        assert!(!format!("{span:?}").contains(SECRET), "{span:?}");
    }
}
