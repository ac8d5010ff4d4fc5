//! What is on its way to a run and held back until it is its turn: outcomes of activities and steps, and messages.
//! It must not choose among them.

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

/// The doors to a world: of its store, for messages, and of its workers, for outcomes.
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
    /// Cancelled when nobody waits for the outcome any more.
    cancellation: Option<Cancellation>,
    release: oneshot::Sender<()>,
}

/// A run that was started.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub(super) run: RunId,
    pub(super) workflow: String,
}

/// How far a world has come: two that are equal have seen the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// How many events were logged.
    pub(super) events: usize,
    waiting: usize,
}

impl Held {
    /// Doors that nothing passes which a test explores.
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, inner: Mutex::default() }
    }

    /// What may arrive now, each once, in the order in which it comes if nobody chooses.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        let inner = self.lock();
        let mut arrivals: Vec<_> = inner.waiting.iter().map(|waiting| waiting.arrival.clone()).collect();
        arrivals.sort();
        arrivals.dedup();
        arrivals
    }

    /// Lets the oldest of these arrive.
    pub(super) fn release(&self, arrival: &Arrival) {
        let waiting = {
            let mut inner = self.lock();
            let place = inner.waiting.iter().position(|waiting| waiting.arrival == *arrival);
            place.map(|place| inner.waiting.remove(place))
        };
        waiting.into_iter().for_each(Waiting::release);
    }

    /// Lets the oldest of all arrive. Whether there was one.
    pub(crate) fn release_oldest(&self) -> bool {
        let waiting = {
            let mut inner = self.lock();
            (!inner.waiting.is_empty()).then(|| inner.waiting.remove(0))
        };
        let released = waiting.is_some();
        waiting.into_iter().for_each(Waiting::release);
        released
    }

    /// Lets go what will reach nobody: outcomes that nobody waits for any more, and what was dropped under way.
    /// Whether something may follow from that.
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

    /// From now on nothing is held back. Whether something was until now.
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
        // An error would mean that the doors are gone, and so is the world.
        Some(Box::pin(async { released.await.unwrap_or_default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A run is there, by a start in the inbox or in the log.
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

    /// Outside of the lock: who is woken may come back.
    fn release(self) {
        // Who was dropped meanwhile needs no release.
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
                inner.events += append.events.len();
                inner.closed += append.closed.len();
            }
            Fact::Claimed { .. } | Fact::Renewed { .. } | Fact::Ended { .. } | Fact::Restored => {}
        }
    }
}

/// The message of a submission, unless it is a start: with that, a run only begins.
fn message(submission: &Submission) -> Option<Arrival> {
    match submission.kind().ok()? {
        MessageKind::Signal(name) => Some(Arrival::signal(name)),
        MessageKind::Cancel => Some(Arrival::cancel()),
        MessageKind::Terminate => Some(Arrival::terminate()),
        MessageKind::Start => None,
    }
}
