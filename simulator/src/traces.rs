//! Traces through runs: clients send from places in traces, and what is logged, handed on and shown to spans is compared with that. It
//! must not know what disturbs a run.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgworkflows_core::RunId;
use pgworkflows_core::history::Event;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::trace::{TraceContext, TracePropagator};
use tracing::field::{Field, Visit};
use tracing::span::Attributes;

use crate::check::chain_of;
use crate::clients::RunPromise;
use crate::plan::SIGNALS;
use crate::view::RunView;
use crate::workflow::serving::Request;

thread_local! {
    /// The place of the code that is polled.
    static PLACE: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// From where something is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sender {
    /// The start of a script's run.
    Start(u64),
    /// A signal: the number of its name, and its token.
    Signal(usize, u64),
    /// An update, by its token.
    Update(u64),
}

impl Sender {
    /// Its place, which is that of no other.
    fn place(self) -> TraceContext {
        let (kind, number) = match self {
            Self::Start(script) => (1, script),
            Self::Signal(name, token) => (2 + name as u128, token),
            Self::Update(token) => (2 + SIGNALS.len() as u128, token),
        };
        let trace = (kind << 64 | u128::from(number)).to_be_bytes();
        TraceContext::new(trace, number.saturating_add(1).to_be_bytes(), 1).expect("neither id is 0")
    }

    /// Sends from there.
    pub(crate) async fn sends<T>(self, work: impl Future<Output = T>) -> T {
        let (place, mut work) = (self.place(), pin!(work));
        poll_fn(|task| {
            let outer = PLACE.replace(Some(place));
            let polled = work.as_mut().poll(task);
            PLACE.set(outer);
            polled
        })
        .await
    }
}

/// Tells clients where they are, and notes what spans continue and are linked to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traces(Arc<Mutex<Spans>>);

#[derive(Debug, Default)]
struct Spans {
    /// The places from which something was sent.
    sent_from: BTreeSet<String>,
    /// How many spans were made.
    made: u64,
    open: BTreeMap<u64, (String, Option<TraceContext>)>,
    /// By the ids of runs.
    closed: BTreeMap<String, OfRun>,
}

/// The spans of passes and attempts of a run.
#[derive(Debug, Default)]
struct OfRun {
    /// What they continue, in words.
    continued: BTreeSet<String>,
    links: Vec<TraceContext>,
}

impl TracePropagator for Traces {
    fn current(&self) -> Option<TraceContext> {
        let place = PLACE.get();
        self.lock().sent_from.extend(place.map(|place| place.to_string()));
        place
    }

    fn continue_in(&self, span: &tracing::Span, parent: &TraceContext) {
        let mut spans = self.lock();
        if let Some((_, continued)) = span.id().and_then(|id| spans.open.get_mut(&id.into_u64())) {
            *continued = Some(*parent);
        }
    }

    fn link(&self, span: &tracing::Span, to: &TraceContext) {
        let mut spans = self.lock();
        if let Some((run, _)) = span.id().and_then(|id| spans.open.get(&id.into_u64())).cloned() {
            spans.closed.entry(run).or_default().links.push(*to);
        }
    }
}

impl Traces {
    fn lock(&self) -> MutexGuard<'_, Spans> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A span was made. Returns its number.
    pub(crate) fn made(&self, span: &Attributes<'_>) -> u64 {
        let mut run = OfWhich(None);
        span.record(&mut run);
        let mut spans = self.lock();
        spans.made += 1;
        let number = spans.made;
        spans.open.extend(run.0.map(|run| (number, (run, None))));
        number
    }

    /// A span is over.
    pub(crate) fn closed(&self, number: u64) {
        let mut spans = self.lock();
        if let Some((run, continued)) = spans.open.remove(&number) {
            spans.closed.entry(run).or_default().continued.insert(words(continued.as_ref()));
        }
    }

    /// What a run was given is in its history, and is what its passes and attempts continue, and what its children and the runs
    /// to which it sent signals are given.
    pub(crate) fn check(&self, seen: &[RunView], wrong: &mut Vec<String>) {
        let spans = self.lock();
        let given: BTreeMap<RunId, Option<TraceContext>> =
            seen.iter().map(|view| (view.run, given_to(view))).collect();
        for view in seen {
            let (run, own) = (view.run, given_to(view));
            if view.history.is_empty() {
                continue;
            }
            for event in view.events() {
                if let Event::ChildStarted { child, .. } = event {
                    let theirs = chain_of(*child, seen).into_iter().filter(|run| !run.history.is_empty());
                    let lost = theirs.map(given_to).find(|theirs| *theirs != own);
                    wrong.extend(lost.map(|theirs| handed_on("a child", run, own, theirs)));
                }
                if let Event::SignalReceived { sender: Some(sender), trace, .. } = event
                    && let Some(theirs) = given.get(sender)
                    && trace.as_deref() != theirs.as_ref()
                {
                    wrong.push(handed_on("a signal", *sender, *theirs, trace.as_deref().copied()));
                }
            }
            let Some(of_run) = spans.closed.get(&run.to_string()) else { continue };
            if let Some(other) = of_run.continued.iter().find(|continued| **continued != words(own.as_ref()))
            {
                wrong.push(format!(
                    "run {run} was given {}, and its spans continue {other}",
                    words(own.as_ref())
                ));
            }
            // What a pass has taken need not be in the log: its owner may have lost its lease.
            if let Some(other) = of_run.links.iter().find(|to| !spans.sent_from.contains(&to.to_string())) {
                wrong
                    .push(format!("run {run}: a pass is linked to {other}, and nothing was sent from there"));
            }
        }
    }
}

/// What clients gave is in the histories of a chain.
pub(crate) fn check_given(promise: &RunPromise, chain: &[&RunView], wrong: &mut Vec<String>) {
    let start = Sender::Start(promise.number).place();
    let mut messages: BTreeMap<MessageId, Option<TraceContext>> = BTreeMap::new();
    for view in chain.iter().filter(|view| !view.history.is_empty()) {
        if given_to(view) != Some(start) {
            let given = words(given_to(view).as_ref());
            wrong.push(format!("run {} was started from {start}, and was given {given}", view.run));
        }
        for event in view.events() {
            let (message, expected) = match event {
                Event::SignalReceived { message, signal, payload, sender: None, .. } => {
                    let name = SIGNALS.iter().position(|name| signal == name);
                    let token = payload.decode::<u64>().ok();
                    (message, name.zip(token).map(|(name, token)| Sender::Signal(name, token)))
                }
                Event::UpdateReceived { message, request, .. } => {
                    let request = request.decode::<Request>().ok();
                    (message, request.map(|request| Sender::Update(request.token)))
                }
                _ => continue,
            };
            let Some(expected) = expected.map(Sender::place) else { continue };
            let from = sent_from(event);
            // A start may bring a signal along.
            let is_right = from == Some(expected) || from == Some(start);
            // What a run has not taken goes along as it came.
            let is_same = messages.insert(*message, from).is_none_or(|before| before == from);
            if !is_right || !is_same {
                let (run, from) = (view.run, words(from.as_ref()));
                wrong.push(format!(
                    "run {run} received {message:?} from {from}, and it was sent from {expected}"
                ));
            }
        }
    }
}

/// The place in a trace at which a run was started.
fn given_to(view: &RunView) -> Option<TraceContext> {
    view.events().find_map(|event| match event {
        Event::RunStarted { trace, .. } => trace.as_deref().copied(),
        _ => None,
    })
}

/// The place from which a signal or an update came.
fn sent_from(event: &Event) -> Option<TraceContext> {
    match event {
        Event::SignalReceived { trace, .. } | Event::UpdateReceived { trace, .. } => {
            trace.as_deref().copied()
        }
        _ => None,
    }
}

fn handed_on(what: &str, run: RunId, own: Option<TraceContext>, theirs: Option<TraceContext>) -> String {
    format!("run {run} was given {}, and gave {} to {what}", words(own.as_ref()), words(theirs.as_ref()))
}

fn words(place: Option<&TraceContext>) -> String {
    place.map_or_else(|| "no trace".to_owned(), ToString::to_string)
}

/// The field that names the run of a span.
struct OfWhich(Option<String>);

impl Visit for OfWhich {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "run" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}
