//! Collects the library's warnings and errors for tests, also for those of the PostgreSQL store. It must not know what is tested.

use std::fmt::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static LOGS: OnceLock<&'static Logs> = OnceLock::new();

/// Warnings and errors of the whole process. Workers run on their own threads, so all tests share them.
#[derive(Debug, Default)]
pub struct Logs(Mutex<Vec<String>>);

/// The warnings and errors of this process since the first call.
///
/// # Panics
/// Panics if the process already has a subscriber.
pub fn logs() -> &'static Logs {
    LOGS.get_or_init(|| {
        let logs: &'static Logs = Box::leak(Box::default());
        tracing::subscriber::set_global_default(Collector(logs)).unwrap();
        logs
    })
}

impl Logs {
    /// The lines that contain all of these.
    pub fn with(&self, parts: &[&str]) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
    }
}

struct Collector(&'static Logs);

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("pgworkflows")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}
