//! No payload is in what OpenTelemetry exports: spans, their events, which are the lines of the log, and their links.

use crate::exporter;
use crate::world::{Driven, SECRET, drive};

#[tokio::test]
async fn payloads_appear_in_no_exported_span() {
    let exporter = exporter();
    let Driven { monitor, errors } = drive(pgworkflows::MemoryStore::new()).await;
    assert!(monitor.metrics().runs_started > 9 && errors.len() > 20);
    let spans = exporter.get_finished_spans().unwrap();
    assert!(spans.iter().any(|span| span.name == "attempt"));
    assert!(spans.iter().any(|span| span.events.iter().any(|event| event.name == "the activity speaks")));
    for span in spans {
        assert!(!format!("{span:?}").contains(SECRET), "{span:?}");
    }
}
