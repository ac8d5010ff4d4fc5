//! Holds back what is going to reach a run, until it is released: outcomes of activities and steps, and messages. It
//! must not choose among them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use pgworkflows_core::activity::Cancellation;
use pgworkflows_core::history::{Event, HistoryEvent, MessageKind};
use pgworkflows_core::id::Name;
use pgworkflows_core::store::{ClosedRun, Frame, NewRun, SentMessage, Submission};
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
    /// The signals that runs have sent and no read of the inbox has found.
    unread: Vec<Name>,
    is_open: bool,
    runs: Vec<Started>,
    /// The runs that other runs started, or their activities.
    children: BTreeSet<RunId>,
    events: usize,
    closed: usize,
}

#[derive(Debug)]
struct Waiting {
    arrival: Arrival,
    /// Whether it is a read of the inbox that finds a run's signal.
    is_read: bool,
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

    /// Releases the oldest of these arrivals. What a client sends arrives after what runs have sent before, in the same read.
    pub(super) fn release(&self, arrival: &Arrival) {
        let (waiting, reads) = {
            let mut inner = self.lock();
            let Some(place) = inner.waiting.iter().position(|waiting| waiting.arrival == *arrival) else {
                return;
            };
            let waiting = inner.waiting.remove(place);
            let is_message = waiting.cancellation.is_none();
            (waiting, inner.waiting.extract_if(.., |other| is_message && other.is_read).collect::<Vec<_>>())
        };
        waiting.release();
        reads.into_iter().for_each(Waiting::release);
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
        self.lock().hold(arrival, false, cancellation)
    }

    /// Holds a read of the inbox back if it finds a run's signal. It is in the inbox since the append that sent it.
    fn hold_read(&self) -> Option<BoxFuture<'static, ()>> {
        let mut inner = self.lock();
        let sent = inner.unread.first()?.clone();
        inner.hold(Arrival::signal(sent), true, None)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hold(
        &mut self,
        arrival: Arrival,
        is_read: bool,
        cancellation: Option<Cancellation>,
    ) -> Option<BoxFuture<'static, ()>> {
        if self.is_open {
            return None;
        }
        let (release, released) = oneshot::channel();
        self.waiting.push(Waiting { arrival, is_read, cancellation, release });
        // An error means that the world was dropped.
        Some(Box::pin(async { released.await.unwrap_or_default() }))
    }

    /// Notes a run, which was started in the inbox or in the log. A child belongs to the run that started it.
    fn started(&mut self, run: RunId, workflow: &str) {
        let is_known = self.runs.iter().any(|started| started.run == run);
        if !is_known && !self.children.contains(&run) {
            self.runs.push(Started { run, workflow: workflow.to_owned() });
        }
    }
}

impl Inner {
    /// Whether an attempt of an activity starts the run by its own client: then its key begins with the id of the attempt's run.
    fn is_asked_for(&self, opens: &NewRun) -> bool {
        let asking = opens.key.as_ref().and_then(|key| key.split(':').next()?.parse::<RunId>().ok());
        asking.is_some_and(|run| {
            self.children.contains(&run) || self.runs.iter().any(|started| started.run == run)
        })
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
        let held = match (point.call, point.stage) {
            (StoreCall::Submit(submissions), Stage::Request) => {
                let arrival = submissions.first().and_then(message);
                arrival.and_then(|arrival| self.hold(arrival, None))
            }
            (StoreCall::ReadInbox(_), Stage::Request) => self.hold_read(),
            (StoreCall::ReadInbox(_), Stage::Commit) => {
                self.lock().unread.clear();
                None
            }
            _ => None,
        };
        held.map_or(Fault::Proceed, Fault::Delay)
    }

    fn happened(&self, fact: &Fact, _now: Timestamp) {
        let mut inner = self.lock();
        match fact {
            Fact::Submitted { submission, .. } => match &submission.opens {
                Some(opens) if inner.is_asked_for(opens) => _ = inner.children.insert(submission.run),
                Some(opens) => inner.started(submission.run, &opens.workflow),
                None => {}
            },
            Fact::Appended(append) => {
                // A run that continues another was not started by the script.
                let continues = |run| append.links.iter().any(|link| link.run == run);
                for opened in append.opened.iter().filter(|opened| !continues(opened.run)) {
                    inner.started(opened.run, &opened.workflow);
                }
                inner.unread.extend(append.sent.iter().filter_map(signal));
                inner.children.extend(append.frames.iter().flat_map(children_of));
                for linked in &append.links {
                    // What continues a child is a child.
                    if inner.children.contains(&linked.link.first) {
                        inner.children.insert(linked.run);
                    }
                }
                inner.events += append.frames.iter().map(|frame| frame.count as usize).sum::<usize>();
                let ends = |closed: &&ClosedRun| {
                    !closed.status.is_continued() && !inner.children.contains(&closed.run)
                };
                let ended = append.closed.iter().filter(ends).count();
                inner.closed += ended;
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

/// The runs that the events of a frame start.
fn children_of(frame: &Frame) -> Vec<RunId> {
    let events = frame.events().unwrap_or_default();
    let child = |event: HistoryEvent| match event.event {
        Event::ChildStarted { child, .. } => Some(child),
        _ => None,
    };
    events.into_iter().filter_map(child).collect()
}

/// The message of a submission, unless it is a start, which only begins a run.
fn message(submission: &Submission) -> Option<Arrival> {
    match submission.kind().ok()? {
        MessageKind::Signal(name) => Some(Arrival::signal(name)),
        MessageKind::Update(name) => Some(Arrival::update(name)),
        MessageKind::Cancel => Some(Arrival::cancel()),
        MessageKind::Terminate => Some(Arrival::terminate()),
        // The outcome of an activity is held back before its executor reports it, and requests to pause, resume or retry bring nothing.
        MessageKind::Start
        | MessageKind::Task
        | MessageKind::Child
        | MessageKind::Pause
        | MessageKind::Resume
        | MessageKind::Retry => None,
    }
}

/// The name of the signal that a run sends, if it is one.
fn signal(sent: &SentMessage) -> Option<Name> {
    let SentMessage { message, run, body, .. } = sent;
    let submission = Submission { message: *message, run: *run, body: body.clone(), opens: None };
    if let Ok(MessageKind::Signal(name)) = submission.kind() { Some(name) } else { None }
}
