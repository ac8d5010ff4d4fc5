//! Holds back what is going to reach a run, until it is released: outcomes of activities and steps, and messages. It
//! must not choose among them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use pgworkflows_core::activity::Cancellation;
use pgworkflows_core::history::MessageKind;
use pgworkflows_core::store::Submission;
use pgworkflows_core::{RunId, Timestamp};
use pgworkflows_memory::{Call as StoreCall, Fact, Fault, FaultPoint, Faults, Stage};
use tokio::sync::oneshot;

use super::arrival::Arrival;
use super::scope::Scope;
use crate::world::{Call, Gate};

/// Everything that is held back in a world: messages at its store, and outcomes at its workers.
#[derive(Debug, Default)]
pub(crate) struct Held {
    scope: Scope,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Vec<Waiting>,
    is_open: bool,
    runs: Vec<Started>,
    events: usize,
    closed: usize,
}

#[derive(Debug)]
struct Waiting {
    arrival: Arrival,
    /// Cancelled when the run no longer waits for the outcome.
    cancellation: Option<Cancellation>,
    release: oneshot::Sender<()>,
}

/// A run that was started.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub(super) run: RunId,
    pub(super) workflow: String,
}

/// The progress of a world: between two equal values, nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// How many events were logged.
    pub(super) events: usize,
    waiting: usize,
}

impl Held {
    /// Holds everything back that is in the scope.
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, inner: Mutex::default() }
    }

    /// What can arrive now, without duplicates, in the default order.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        let inner = self.lock();
        let mut arrivals: Vec<_> = inner.waiting.iter().map(|waiting| waiting.arrival.clone()).collect();
        arrivals.sort();
        arrivals.dedup();
        arrivals
    }

    /// Releases the oldest of these arrivals.
    pub(super) fn release(&self, arrival: &Arrival) {
        let waiting = {
            let mut inner = self.lock();
            let place = inner.waiting.iter().position(|waiting| waiting.arrival == *arrival);
            place.map(|place| inner.waiting.remove(place))
        };
        waiting.into_iter().for_each(Waiting::release);
    }

    /// Releases the oldest arrival. Whether there was one.
    pub(crate) fn release_oldest(&self) -> bool {
        let waiting = {
            let mut inner = self.lock();
            (!inner.waiting.is_empty()).then(|| inner.waiting.remove(0))
        };
        let released = waiting.is_some();
        waiting.into_iter().for_each(Waiting::release);
        released
    }

    /// Releases everything that reaches no run: outcomes that the run no longer waits for, and what was dropped in
    /// flight. Whether there was something.
    pub(crate) fn release_given_up(&self) -> bool {
        let (given_up, waiting) = {
            let mut inner = self.lock();
            let waiting = std::mem::take(&mut inner.waiting);
            waiting.into_iter().partition::<Vec<_>, _>(Waiting::is_given_up)
        };
        self.lock().waiting.extend(waiting);
        let released = !given_up.is_empty();
        given_up.into_iter().for_each(Waiting::release);
        released
    }

    /// Releases everything and holds nothing back any more. Whether there was something.
    pub(super) fn open(&self) -> bool {
        let waiting = {
            let mut inner = self.lock();
            inner.is_open = true;
            std::mem::take(&mut inner.waiting)
        };
        let released = !waiting.is_empty();
        waiting.into_iter().for_each(Waiting::release);
        released
    }

    pub(super) fn progress(&self) -> Progress {
        let inner = self.lock();
        Progress { events: inner.events, waiting: inner.waiting.len() }
    }

    /// The runs that were started.
    pub(super) fn started(&self) -> Vec<Started> {
        self.lock().runs.clone()
    }

    /// Whether every run that was started is over.
    pub(super) fn is_over(&self) -> bool {
        let inner = self.lock();
        inner.closed > 0 && inner.closed == inner.runs.len()
    }

    fn hold(&self, arrival: Arrival, cancellation: Option<Cancellation>) -> Option<BoxFuture<'static, ()>> {
        let mut inner = self.lock();
        if inner.is_open {
            return None;
        }
        let (release, released) = oneshot::channel();
        inner.waiting.push(Waiting { arrival, cancellation, release });
        // An error means that the world was dropped.
        Some(Box::pin(async { released.await.unwrap_or_default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Notes a run, which was started in the inbox or in the log.
    fn started(&mut self, run: RunId, workflow: &str) {
        if !self.runs.iter().any(|started| started.run == run) {
            self.runs.push(Started { run, workflow: workflow.to_owned() });
        }
    }
}

impl Waiting {
    fn is_given_up(&self) -> bool {
        self.release.is_closed() || self.cancellation.as_ref().is_some_and(Cancellation::is_cancelled)
    }

    /// Must be called without the lock, because the woken task may take it.
    fn release(self) {
        // A future that was dropped meanwhile needs no release.
        self.release.send(()).unwrap_or_default();
    }
}

impl Gate for Held {
    fn pass(&self, call: &Call, cancellation: &Cancellation) -> BoxFuture<'static, ()> {
        let (name, number) = (call.name.clone(), call.call.get());
        let arrival = match call.input {
            Some(_) if self.scope.ignores(&name) => return Box::pin(std::future::ready(())),
            Some(_) => Arrival::activity(name, number),
            None => Arrival::step(name, number),
        };
        self.hold(arrival, Some(cancellation.clone())).unwrap_or_else(|| Box::pin(std::future::ready(())))
    }
}

impl Faults for Held {
    fn at(&self, point: &FaultPoint<'_>) -> Fault {
        let StoreCall::Submit(submissions) = point.call else { return Fault::Proceed };
        if point.stage != Stage::Request {
            return Fault::Proceed;
        }
        let arrival = submissions.first().and_then(message);
        let held = arrival.and_then(|arrival| self.hold(arrival, None));
        held.map_or(Fault::Proceed, Fault::Delay)
    }

    fn happened(&self, fact: &Fact, _now: Timestamp) {
        let mut inner = self.lock();
        match fact {
            Fact::Submitted { submission, .. } => {
                if let Some(opens) = &submission.opens {
                    inner.started(submission.run, &opens.workflow);
                }
            }
            Fact::Appended(append) => {
                for opened in &append.opened {
                    inner.started(opened.run, &opened.workflow);
                }
                inner.events += append.frames.iter().map(|frame| frame.count as usize).sum::<usize>();
                inner.closed += append.closed.len();
            }
            Fact::Leased { .. }
            | Fact::Claimed { .. }
            | Fact::Renewed { .. }
            | Fact::Ended { .. }
            | Fact::ExecutorRenewed { .. }
            | Fact::ExecutorEnded { .. }
            | Fact::TaskClaimed { .. }
            | Fact::TaskFreed { .. }
            | Fact::TaskDeleted { .. }
            | Fact::Restored => {}
        }
    }
}

/// The message of a submission, unless it is a start, which only begins a run.
fn message(submission: &Submission) -> Option<Arrival> {
    match submission.kind().ok()? {
        MessageKind::Signal(name) => Some(Arrival::signal(name)),
        MessageKind::Update(name) => Some(Arrival::update(name)),
        MessageKind::Cancel => Some(Arrival::cancel()),
        MessageKind::Terminate => Some(Arrival::terminate()),
        // The outcome of an activity is held back before its executor reports it, and requests to resume or to retry bring nothing.
        MessageKind::Start | MessageKind::Task | MessageKind::Resume | MessageKind::Retry => None,
    }
}
