//! Collects what is logged, by the library and by the crates below it, at any level. It must not know what is looked for.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::dispatcher::{self, Dispatch};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A place for lines. It is made once, because `tracing` tells every line of the program's code about a new one.
#[derive(Debug)]
pub(crate) struct Collector {
    lines: Lines,
    dispatch: Dispatch,
}

impl Collector {
    pub(crate) fn new() -> Self {
        let lines = Lines::default();
        Self { dispatch: Dispatch::new(lines.clone()), lines }
    }

    /// What `work` returns, and all lines that this thread logs meanwhile.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> (T, String) {
        let done = dispatcher::with_default(&self.dispatch, work);
        (done, std::mem::take(&mut *self.lines.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<String>>);

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        event.record(&mut Fields(&mut text));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields<'t>(&'t mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Nothing fails to be written to a text.
        let _ = writeln!(self.0, "{field}={value:?}");
    }
}
