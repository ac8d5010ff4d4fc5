//! The `tracing` spans around users' code: one for each pass of a run, which is a poll of its workflow, and one for each
//! attempt of an activity or a step. So users' own log lines say which run they belong to, and a trace goes on in them. It
//! must not know what the code does.
//!
//! Nothing is made for a span that no subscriber wants: most passes take a microsecond.

use std::sync::Arc;

use tracing::dispatcher::{Dispatch, with_default};
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, Level, Span, info_span};

use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::data::trace_context::TraceContext;
use crate::guard::shielded;
use crate::host::AttemptFuture;
use crate::log::attempt::Attempt;
use crate::observe::propagator::TracePropagator;

/// What continues traces in the spans, if anything does.
pub(crate) type Propagator = Option<Arc<dyn TracePropagator>>;

/// Whether a subscriber wants lines of this level from anybody: one load of an atomic number.
pub(crate) fn listens(level: Level) -> bool {
    level <= LevelFilter::current()
}

/// The run that a span is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfRun<'a> {
    pub(crate) run: RunId,
    pub(crate) workflow: &'a Name,
    pub(crate) key: Option<&'a str>,
    pub(crate) trace: Option<&'a TraceContext>,
}

/// What the span of a step says of its run: nothing without a subscriber.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepTag {
    pub(crate) key: Option<String>,
    pub(crate) trace: Option<Box<TraceContext>>,
}

impl StepTag {
    /// The tag of a run's steps.
    pub(crate) fn of(key: Option<&str>, trace: Option<&TraceContext>) -> Self {
        if !listens(Level::INFO) {
            return Self::default();
        }
        Self { key: key.map(str::to_owned), trace: trace.copied().map(Box::new) }
    }
}

/// Runs a pass of a run's code in its span, which is linked to other places in traces afterwards.
pub(crate) fn in_pass<T>(
    of: OfRun<'_>,
    propagator: &Propagator,
    pass: impl FnOnce() -> T,
    links: impl FnOnce(&T) -> &[TraceContext],
) -> T {
    if !listens(Level::INFO) {
        return pass();
    }
    let OfRun { run, workflow, key, trace } = of;
    let span = continuing(info_span!("run", %run, %workflow, key), trace, propagator);
    let passed = span.in_scope(pass);
    if let (Some(propagator), false) = (propagator, span.is_disabled()) {
        links(&passed).iter().for_each(|to| shielded("a trace propagator", || propagator.link(&span, to)));
    }
    passed
}

/// Runs a pass of a replay without a subscriber: what the code logs there was logged when it first ran.
pub(crate) fn in_replay<T>(pass: impl FnOnce() -> T) -> T {
    if LevelFilter::current() == LevelFilter::OFF {
        return pass();
    }
    with_default(&Dispatch::none(), pass)
}

/// Has an attempt executed in its span.
pub(crate) fn in_attempt(span: Span, work: AttemptFuture<'_>) -> AttemptFuture<'_> {
    if span.is_disabled() { work } else { Box::pin(work.instrument(span)) }
}

/// The span of an attempt of an activity.
pub(crate) fn attempt(of: &Attempt, propagator: &Propagator) -> Span {
    if !listens(Level::INFO) {
        return Span::none();
    }
    let Attempt { run, workflow, key, activity, id: call, attempt, trace, .. } = of;
    let span = info_span!("attempt", %run, %workflow, key, %activity, %call, attempt);
    continuing(span, trace.as_deref(), propagator)
}

/// The span of an attempt of a step.
pub(crate) fn step_attempt(
    of: OfRun<'_>,
    (step, call, attempt): (&Name, CommandId, u32),
    propagator: &Propagator,
) -> Span {
    if !listens(Level::INFO) {
        return Span::none();
    }
    let OfRun { run, workflow, key, trace } = of;
    let span = info_span!("attempt", %run, %workflow, key, activity = %step, %call, attempt);
    continuing(span, trace, propagator)
}

/// The span, as a child of that place in a trace.
fn continuing(span: Span, trace: Option<&TraceContext>, propagator: &Propagator) -> Span {
    if let (Some(trace), Some(propagator), false) = (trace, propagator, span.is_disabled()) {
        shielded("a trace propagator", || propagator.continue_in(&span, trace));
    }
    span
}
