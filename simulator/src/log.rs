//! What the engine tells a subscriber: its own log lines, for the transcript of a failing seed, and its spans, for the checks of
//! traces. It must not change what happens.

use std::fmt::Write;
use std::sync::Arc;

use pgworkflows_testkit::runtime::time::Time;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::traces::Traces;

/// Listens to the engine.
pub(crate) struct EngineLog {
    pub(crate) traces: Traces,
    /// Into whose trace it puts the engine's log lines, if they are wanted.
    pub(crate) lines: Option<Arc<Time>>,
}

impl Subscriber for EngineLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() || self.lines.is_some()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        Id::from_u64(self.traces.made(span))
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(time) = &self.lines else { return };
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let mut inner = time.lock();
        let line = format!("worker {}:{}", inner.current.0, fields.0);
        inner.trace.remark(line);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}

    fn try_close(&self, span: Id) -> bool {
        self.traces.closed(span.into_u64());
        true
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
