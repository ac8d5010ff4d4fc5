//! Collects the library's `tracing` events for tests: one line for each, its level first. It must not know what is tested.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects the lines of this process from now on. Workers run on their own threads, so all tests share one list.
pub(crate) fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| tracing::subscriber::set_global_default(Collector).unwrap());
}

/// The lines that contain all of these.
pub(crate) fn lines(parts: &[&str]) -> Vec<String> {
    let lines = lock();
    lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
}

fn lock() -> MutexGuard<'static, Vec<String>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with("pgworkflows")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("{}{{", span.metadata().name()));
        span.record(&mut line);
        let mut spans = SPANS.lock().unwrap_or_else(PoisonError::into_inner);
        spans.push(line.0 + " } ");
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let spans = SPANS.lock().unwrap_or_else(PoisonError::into_inner);
        let around = ENTERED.with_borrow(|entered| {
            let spans = entered.iter().map(|id| spans[id.into_u64() as usize - 1].as_str());
            spans.collect::<String>()
        });
        let mut line = Line(format!("{} {around}", event.metadata().level()));
        event.record(&mut line);
        lock().push(line.0);
    }

    fn enter(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.clone()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(|entered| _ = entered.pop());
    }
}

/// The text of the spans, by their ids.
static SPANS: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// The spans that this thread is in.
    static ENTERED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}
