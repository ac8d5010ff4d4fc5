//! The warnings of the store in this process. It must not know what is tested.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use pgworkflows_core::trace::tracing::field::{Field, Visit};
use pgworkflows_core::trace::tracing::span::{Attributes, Id, Record};
use pgworkflows_core::trace::tracing::{Event, Level, Metadata, Subscriber, subscriber};

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects warnings from now on. The store has threads of its own, so all tests share them.
pub(crate) fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| subscriber::set_global_default(Collector).unwrap());
}

/// The warnings with this message.
pub(crate) fn warnings(message: &str) -> usize {
    let warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    warnings.iter().filter(|warning| *warning == message).count()
}

struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("pgworkflows_postgres")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Message;

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            WARNINGS.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{value:?}"));
        }
    }
}
