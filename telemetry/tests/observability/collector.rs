//! Collects all log lines and spans of a thread, whatever their level. The subscriber is that of the process, because `tracing`
//! remembers for each line whether any thread wants it. It must not know what is tested.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pgworkflows::trace::tracing::field::{Field, Visit};
use pgworkflows::trace::tracing::span::{Attributes, Id, Record};
use pgworkflows::trace::tracing::subscriber::{self, Interest};
use pgworkflows::trace::tracing::{Event, Metadata, Subscriber};

/// Everything that was seen. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    lines: Vec<Line>,
    spans: Vec<Span>,
    entered: Vec<usize>,
}

/// A line, with the spans around it, the outermost first.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: String,
    pub(crate) target: String,
    pub(crate) message: String,
    /// Searched as a part of the line's text.
    #[expect(dead_code, reason = "`Debug` reads it")]
    pub(crate) fields: BTreeMap<&'static str, String>,
    pub(crate) spans: Vec<Span>,
}

/// A span.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: &'static str,
    pub(crate) target: String,
    pub(crate) level: String,
    /// The names of all fields that it may have.
    pub(crate) names: BTreeSet<&'static str>,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Seen {
    /// Collects what this thread does from now on.
    pub(crate) fn listen() -> Self {
        static LISTENING: OnceLock<()> = OnceLock::new();
        LISTENING.get_or_init(|| subscriber::set_global_default(Collector).expect("it is the first"));
        let seen = Self::default();
        HERE.with_borrow_mut(|here| *here = Some(seen.clone()));
        seen
    }

    /// Collects no more.
    pub(crate) fn end(&self) {
        HERE.with_borrow_mut(|here| *here = None);
    }

    /// The library's lines.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.all_lines().into_iter().filter(|line| line.target.starts_with("pgworkflows")).collect()
    }

    pub(crate) fn all_lines(&self) -> Vec<Line> {
        self.lock().lines.clone()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let spans = self.lock().spans.clone();
        spans.into_iter().filter(|span| span.target.starts_with("pgworkflows")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// What collects the lines of this thread.
    static HERE: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// Passes everything on to what collects in the thread.
struct Collector;

fn with_inner<T>(take: impl FnOnce(&mut Inner) -> T) -> Option<T> {
    HERE.with_borrow(|here| here.as_ref().map(|seen| take(&mut seen.lock())))
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        HERE.with_borrow(Option::is_some)
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let metadata = span.metadata();
        let span = Span {
            name: metadata.name(),
            target: metadata.target().to_owned(),
            level: metadata.level().to_string().to_lowercase(),
            names: metadata.fields().iter().map(|field| field.name()).collect(),
            fields: fields.0,
        };
        let number = with_inner(|inner| {
            inner.spans.push(span);
            inner.spans.len() as u64
        });
        Id::from_u64(number.unwrap_or(u64::MAX))
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        with_inner(|inner| inner.spans[id.into_u64() as usize - 1].fields.extend(fields.0));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        let (level, target) = (event.metadata().level(), event.metadata().target().to_owned());
        let level = level.to_string().to_lowercase();
        with_inner(|inner| {
            let spans = inner.entered.iter().filter_map(|index| inner.spans.get(*index).cloned()).collect();
            inner.lines.push(Line { level, target, message, fields: fields.0, spans });
        });
    }

    fn enter(&self, id: &Id) {
        with_inner(|inner| inner.entered.push(id.into_u64() as usize - 1));
    }

    fn exit(&self, id: &Id) {
        with_inner(|inner| {
            let last = inner.entered.iter().rposition(|index| *index == id.into_u64() as usize - 1);
            last.into_iter().for_each(|at| _ = inner.entered.remove(at));
        });
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}
