//! The scope, which a workflow's code and its program share: open calls, buffered signals, the commands of this poll.
//! It must not know how a command is logged, and must not poll anything.

pub(crate) mod arrivals;
pub(crate) mod call;
pub(crate) mod call_handle;
pub(crate) mod cancellation;
pub(crate) mod carried;
mod compensations;
mod continuation;
pub(crate) mod data;
mod grants;
pub(crate) mod handlers;
pub(crate) mod links;
mod local;
pub(crate) mod permits;
pub(crate) mod published;
pub(crate) mod queues;
mod size;
mod updates;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use self::arrivals::{Arrival, Arrivals, Kind};
use self::call::{Awaited, CallKind, CancelAction, OpenCall, Resolution};
use self::cancellation::Cancellations;
use self::carried::CarriedChildren;
use self::compensations::Compensations;
use self::handlers::Handlers;
use self::links::Links;
use self::published::{Published, Shown};
use self::queues::ResolvedQueues;
use self::size::PollSize;
use self::updates::Updates;
use crate::data::call_map::CallMap;
use crate::data::child::Parent;
use crate::data::id::{CommandId, EventSeq, RunId};
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::random::Stream;
use crate::data::shards::Shards;
use crate::data::time::Timestamp;
use crate::workflow::child_ids::ChildIds;
use crate::workflow::command::{Command, Issued, Source, StepRequest};
use crate::workflow::fault::Fault;
use crate::workflow::locals::Locals;
use crate::workflow::mark::PollMark;

/// The shared state of one live run.
pub(crate) struct Scope {
    run: RunId,
    workflow: Name,
    payload_bytes_max: usize,
    child_ids: Arc<ChildIds>,
    now: Cell<Timestamp>,
    /// The number of the resolution that is being applied.
    seq: Cell<EventSeq>,
    /// Which attempt of the whole run this is.
    attempt: Cell<u32>,
    cancellations: Cancellations,
    mark: Arc<PollMark>,
    last_source: Cell<Option<Source>>,
    inner: RefCell<Inner>,
}

struct Inner {
    next_command: CommandId,
    issued: Vec<Issued>,
    /// The commands and bytes that count towards the limits of a poll.
    size: PollSize,
    steps: CallMap<StepRequest>,
    dropped_steps: Vec<CommandId>,
    /// All steps that were ever cancelled: the queue of a stalled run may still contain the outcome of one.
    #[expect(clippy::box_collection, reason = "most runs cancel none, and every run is smaller by 16 bytes")]
    cancelled_steps: Option<Box<BTreeMap<CommandId, Name>>>,
    calls: CallMap<OpenCall>,
    /// The children that no future holds.
    carried: CarriedChildren,
    /// How many calls have no resolution yet, without the waits for permits of the run itself.
    unresolved: u32,
    signals: Arrivals,
    updates: Updates,
    /// How many signals and updates have arrived.
    arrived: u64,
    /// Where those were sent that this poll has taken. Boxed, because most polls take none from a trace.
    links: Option<Box<Links>>,
    handlers: Option<Box<Handlers>>,
    /// Boxed, because most runs have none.
    compensations: Option<Box<Compensations>>,
    random: Stream,
    /// Set before a run leaves memory, so that dropping its futures issues no command.
    detached: bool,
    /// The local resolutions of this poll.
    locals: Locals,
    /// The other queues in which it has started children. Boxed, because most runs have none.
    queues: Option<Box<ResolvedQueues>>,
    /// What the run shows of itself. Boxed, because most runs show nothing.
    shown: Option<Box<Shown>>,
    /// The input with which the run continues as new at the end of this poll. Boxed to make every run smaller.
    continuation: Option<Box<Payload>>,
    /// Boxed to make every run smaller.
    fault: Option<Box<Fault>>,
}

/// The requests of one poll.
#[derive(Debug, Default)]
pub(crate) struct PollOutput {
    pub(crate) issued: Vec<Issued>,
    pub(crate) steps: CallMap<StepRequest>,
    pub(crate) dropped_steps: Vec<CommandId>,
    pub(crate) locals: Locals,
    pub(crate) published: Option<Box<Published>>,
    /// Where what it took was sent.
    pub(crate) links: Option<Box<Links>>,
}

impl Scope {
    pub(crate) fn new(
        run: RunId,
        workflow: Name,
        payload_bytes_max: usize,
        child_ids: Arc<ChildIds>,
        mark: Arc<PollMark>,
    ) -> Rc<Self> {
        Rc::new(Self {
            run,
            workflow,
            payload_bytes_max,
            child_ids,
            now: Cell::new(Timestamp::MIN),
            seq: Cell::new(EventSeq::FIRST),
            attempt: Cell::new(1),
            cancellations: Cancellations::default(),
            mark,
            last_source: Cell::new(None),
            inner: RefCell::new(Inner {
                next_command: CommandId::FIRST,
                issued: Vec::new(),
                size: PollSize::default(),
                steps: CallMap::new(),
                dropped_steps: Vec::new(),
                cancelled_steps: None,
                calls: CallMap::new(),
                carried: CarriedChildren::default(),
                unresolved: 0,
                signals: Arrivals::default(),
                updates: Updates::default(),
                arrived: 0,
                links: None,
                handlers: None,
                compensations: None,
                random: Stream::new(run.as_u128()),
                detached: false,
                locals: Locals::default(),
                queues: None,
                shown: None,
                continuation: None,
                fault: None,
            }),
        })
    }

    /// The mark of its polls.
    pub(crate) fn mark(&self) -> &PollMark {
        &self.mark
    }

    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    /// The name of the run's workflow.
    pub(crate) fn workflow(&self) -> &Name {
        &self.workflow
    }

    /// The source line of the last durable call.
    pub(crate) fn last_source(&self) -> Option<Source> {
        self.last_source.get()
    }

    pub(crate) fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now.get()
    }

    pub(crate) fn random(&self) -> u64 {
        self.inner.borrow_mut().random.next()
    }

    /// Moves the run's clock, never backwards.
    pub(crate) fn set_now(&self, at: Timestamp) {
        self.now.set(self.now.get().max(at));
    }

    /// Sets the local resolutions of the next poll.
    pub(crate) fn set_locals(&self, locals: Locals) {
        self.inner.borrow_mut().locals = locals;
    }

    /// Whether this poll's decisions are logged already.
    fn is_recorded(&self) -> bool {
        self.inner.borrow().locals.are_recorded()
    }

    /// Notes that the code makes a durable call at this line.
    fn at(&self, source: Source) {
        if !self.last_source.get().is_some_and(|last| std::ptr::eq(last, source)) {
            self.mark.at(source);
            self.last_source.set(Some(source));
        }
    }

    /// Returns the next call's id.
    pub(crate) fn next_id(&self, source: Source) -> CommandId {
        self.at(source);
        let mut inner = self.inner.borrow_mut();
        let id = inner.next_command;
        inner.next_command = id.next();
        id
    }

    /// Records a command for the log. A command that exceeds the limits of a poll faults the run and is dropped at once,
    /// because all requests of a poll stay in memory until they are written.
    pub(crate) fn issue(&self, command: Command, source: Source) {
        let mut inner = self.inner.borrow_mut();
        if inner.detached {
            return;
        }
        if inner.locals.are_recorded() || inner.fits(command.size(), &command, source) {
            if inner.issued.capacity() == 0 {
                // Most polls issue one, and commands are large.
                inner.issued = Vec::with_capacity(1);
            }
            inner.issued.push(Issued { command, source });
        }
    }

    /// The size of the signals that no call has taken.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.inner.borrow().signals.bytes()
    }

    /// Sets the room for the commands of the next poll.
    pub(crate) fn reuse(&self, room: Vec<Issued>) {
        self.inner.borrow_mut().issued = room;
    }

    /// Amends a command that was issued in this poll; returns false if there is none.
    pub(crate) fn amend(&self, id: CommandId, amend: impl FnOnce(&mut Command)) -> bool {
        let mut inner = self.inner.borrow_mut();
        match inner.issued.iter_mut().rev().find(|issued| issued.command.id() == id) {
            Some(issued) => {
                amend(&mut issued.command);
                true
            }
            None => false,
        }
    }

    pub(crate) fn request_step(&self, step: StepRequest) {
        self.inner.borrow_mut().steps.insert(step.id, step);
    }

    /// Records why the code cannot continue: the run stalls at the end of this poll. Only the first reason is kept.
    pub(crate) fn fault(&self, reason: String) {
        self.inner.borrow_mut().fault.get_or_insert_with(|| Box::new(reason.into()));
    }

    pub(crate) fn take_fault(&self) -> Option<Fault> {
        self.inner.borrow_mut().fault.take().map(|fault| *fault)
    }

    /// Resolves a call and wakes its waker. A call whose future was dropped is ignored.
    pub(crate) fn resolve(&self, id: CommandId, resolution: Resolution) {
        let waker = {
            let mut inner = self.inner.borrow_mut();
            let Some(call) = inner.calls.get_mut(id) else {
                return inner.carried.resolve(id, resolution);
            };
            if call.resolution.is_some() {
                return;
            }
            call.resolution = Some(resolution);
            let (waker, is_external) = (call.waker.take(), call.kind.is_external());
            inner.unresolved -= u32::from(is_external);
            waker
        };
        // Wakers belong to the user's combinators and may call back into this scope.
        waker.inspect(Waker::wake_by_ref);
    }

    /// Whether the code asked for a step with that id and name, even if it was cancelled since.
    pub(crate) fn asked_for_step(&self, id: CommandId, name: &Name) -> bool {
        let inner = self.inner.borrow();
        let open = match inner.calls.get(id).map(|call| &call.kind) {
            Some(CallKind::Step(open)) => Some(open),
            Some(
                CallKind::Activity(_)
                | CallKind::Timer(_)
                | CallKind::Arrival(..)
                | CallKind::Condition
                | CallKind::Permit(_)
                | CallKind::Child(_)
                | CallKind::Round,
            )
            | None => None,
        };
        open.or_else(|| inner.cancelled_steps.as_ref()?.get(&id)) == Some(name)
    }

    /// Buffers a signal or an update, and wakes the oldest waiter for its name.
    pub(crate) fn receive(&self, kind: Kind, name: &Name, mut arrival: Arrival) {
        let oldest = {
            let mut inner = self.inner.borrow_mut();
            inner.arrived += 1;
            arrival.no = inner.arrived;
            let (no, is_served) = (arrival.no, inner.handlers.is_some());
            let is_first = is_served && inner.arrivals(kind).first_no(name).is_none();
            let oldest = inner.arrivals(kind).receive(name, arrival);
            if let Some(handlers) = inner.handlers.as_mut().filter(|_| is_first) {
                handlers.note_oldest(&(kind, name.clone()), no);
            }
            oldest
        };
        oldest.inspect(|waiter| self.wake(*waiter));
    }

    /// Asks what an open call waits for to cancel itself, if the call waits for that; returns whether it does.
    fn request_cancel(&self, id: CommandId) -> bool {
        let mut inner = self.inner.borrow_mut();
        let request = inner.calls.get(id).and_then(|call| Some((call.kind.cancel_request(id)?, call.source)));
        let Some((command, source)) = request else { return false };
        inner.issued.push(Issued { command, source });
        true
    }

    /// The workflow has returned: what becomes of the children that this poll gave up is what becomes of them at the end.
    pub(crate) fn end(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.issued.iter_mut().for_each(|issued| issued.command.at_end());
    }

    /// The id of the child that a call of this run starts, in these shards or in those of the run's queue.
    pub(crate) fn child_id(&self, parent: Parent, key: Option<&str>, within: Option<Shards>) -> RunId {
        self.child_ids.child(parent, key, within, self.now())
    }

    /// The id of a child that was never started: no call of a run has this number.
    pub(crate) fn no_child(&self) -> RunId {
        self.child_id(Parent { run: self.run, call: CommandId::START_DELAY }, None, None)
    }

    /// How many open calls have no resolution yet, without the waits for permits of the run itself.
    pub(crate) fn unresolved(&self) -> u32 {
        self.inner.borrow().unresolved
    }

    pub(crate) fn detach(&self) {
        self.inner.borrow_mut().detached = true;
    }

    /// Drops calls whose futures were never dropped, and the user's wakers in them.
    pub(crate) fn forget_calls(&self) {
        let calls = std::mem::take(&mut self.inner.borrow_mut().calls);
        drop(calls);
    }

    /// Takes the requests of the last poll.
    pub(crate) fn take_output(&self) -> PollOutput {
        let mut inner = self.inner.borrow_mut();
        inner.size = PollSize::default();
        PollOutput {
            issued: std::mem::take(&mut inner.issued),
            steps: std::mem::take(&mut inner.steps),
            dropped_steps: std::mem::take(&mut inner.dropped_steps),
            locals: std::mem::take(&mut inner.locals),
            published: inner.shown.as_mut().and_then(|shown| shown.take_published()),
            links: inner.links.take(),
        }
    }

    /// The calls that the run waits for, at most `limit`, to show to people.
    pub(crate) fn waits(&self, limit: usize) -> Vec<Awaited> {
        let inner = self.inner.borrow();
        let open = inner.calls.iter().filter(|(_, call)| call.resolution.is_none());
        open.take(limit)
            .map(|(id, call)| Awaited { id, kind: call.kind.clone(), source: call.source })
            .collect()
    }

    /// Cancels an unresolved call's work outside the run.
    fn cancel_call(&self, id: CommandId) {
        let mut inner = self.inner.borrow_mut();
        if inner.detached {
            return;
        }
        let Some(call) = inner.calls.get(id) else { return };
        match call.kind.cancel_action(id) {
            CancelAction::Command(command) => {
                let source = call.source;
                inner.issued.push(Issued { command, source });
            }
            CancelAction::Step(name) => {
                inner.dropped_steps.push(id);
                inner.cancelled_steps.get_or_insert_default().insert(id, name);
                // A step that was requested in this poll has not started. Its closure is user code, so it is dropped
                // after the borrow ends.
                let asked = inner.steps.remove(id);
                drop(inner);
                drop(asked);
            }
            CancelAction::Nothing => {}
        }
    }

    fn wake(&self, id: CommandId) {
        let waker = self.inner.borrow_mut().calls.get_mut(id).and_then(|call| call.waker.take());
        waker.inspect(Waker::wake_by_ref);
    }

    /// Wakes a call that waits for a buffered signal or update, and returns whether there was one.
    pub(crate) fn wake_buffered_waiter(&self) -> bool {
        let stranded = {
            let mut inner = self.inner.borrow_mut();
            let signal = inner.signals.next_stranded();
            let has_updates = inner.updates.seen().is_some();
            signal.or_else(|| has_updates.then(|| inner.arrivals(Kind::Update).next_stranded())?)
        };
        stranded.inspect(|waiter| self.wake(*waiter)).is_some()
    }
}

impl Inner {
    /// What arrived of a kind.
    fn arrivals(&mut self, kind: Kind) -> &mut Arrivals {
        match kind {
            Kind::Signal => &mut self.signals,
            Kind::Update => self.updates.arrivals(),
        }
    }

    /// Adds to the size of this poll's requests, and faults if they exceed the limits.
    fn fits(&mut self, bytes: usize, did: &dyn fmt::Display, source: Source) -> bool {
        self.size.add(bytes);
        let fits = !self.size.is_too_much();
        if !fits {
            let problem = self.size.problem(did, source);
            self.fault.get_or_insert_with(|| Box::new(problem.into()));
        }
        fits
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("run", &self.run).field("waits", &self.waits(8)).finish_non_exhaustive()
    }
}
