//! A program that is an `async fn`, polled against resolutions. It must not know how its decisions are logged.

use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use futures::future::LocalBoxFuture;

use crate::data::id::{CommandId, EventSeq};
use crate::data::name::Name;
use crate::data::outcome::Outcome;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::guard::shielded;
use crate::log::event::Event;
use crate::observe::spans::Propagator;
use crate::workflow::bare::{BareRuntime, UndrivenRuntime, Violation};
use crate::workflow::command::Issued;
use crate::workflow::context::Context;
use crate::workflow::error::WorkflowError;
use crate::workflow::fault::Fault;
use crate::workflow::locals::Locals;
use crate::workflow::program::{Decisions, How, Program, WorkflowEnd, join_or};
use crate::workflow::running_handlers::RunningHandlers;
use crate::workflow::scope::Scope;
use crate::workflow::scope::arrivals::{Arrival, Kind};
use crate::workflow::scope::call::{Awaited, OpenChild, Resolution};

/// Makes a workflow's future from its context and input; the error says why the input is of no use.
pub(crate) type MakeFuture = dyn Fn(Context, &Payload) -> Result<WorkflowFuture, String> + Send + Sync;

/// The future of a workflow's code. It returns its encoded output.
pub(crate) type WorkflowFuture = LocalBoxFuture<'static, Result<Payload, WorkflowError>>;

/// A program that is an `async fn`.
pub(crate) struct AsyncProgram {
    make: Arc<MakeFuture>,
    scope: Rc<Scope>,
    bare: Arc<BareRuntime>,
    /// The input, until the code starts.
    input: Option<Payload>,
    /// How many children it is still to be told of before it starts.
    awaits_carried: u32,
    future: Option<WorkflowFuture>,
    root: Arc<WakeFlag>,
    waker: Waker,
    handlers: RunningHandlers,
    /// What the mark returned at the end of the last poll.
    polled: Option<NonZeroU64>,
}

/// The waker of the main line, which only records that it was woken.
#[derive(Debug, Default)]
struct WakeFlag {
    woken: AtomicBool,
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
    }
}

impl WakeFlag {
    fn take(&self) -> bool {
        // Reading is cheaper than writing, and mostly nothing was woken.
        self.woken.load(Ordering::Acquire) && self.woken.swap(false, Ordering::Acquire)
    }
}

impl AsyncProgram {
    pub(crate) fn new(make: Arc<MakeFuture>, scope: Rc<Scope>, bare: Arc<BareRuntime>) -> Self {
        let root = Arc::new(WakeFlag::default());
        let waker = Waker::from(Arc::clone(&root));
        Self {
            make,
            scope,
            bare,
            input: None,
            awaits_carried: 0,
            future: None,
            root,
            waker,
            handlers: RunningHandlers::default(),
            polled: None,
        }
    }

    /// Hands the resolution to the call that waits for it.
    #[expect(clippy::too_many_lines, reason = "it names every event")]
    fn resolve(&mut self, resolution: &Event) -> Result<(), String> {
        match resolution {
            Event::RunStarted { input, start_at, run_retry, carried, attributes, .. } => {
                self.scope.know_attributes(attributes);
                self.scope.set_attempt(run_retry.as_ref().map_or(1, |retry| retry.attempt));
                self.input = Some(input.clone());
                self.awaits_carried = carried.unwrap_or(0);
                if start_at.is_none() && self.awaits_carried == 0 {
                    self.begin()?;
                }
            }
            Event::ChildCarried { id, child, workflow, on_cancel, at_end, given_up, .. } => {
                let (child, workflow, on_cancel, at_end) = (*child, workflow.clone(), *on_cancel, *at_end);
                let carried = OpenChild { child, workflow, on_cancel, at_end };
                // One that was given up is none of the code's.
                self.scope.carry_on(*id, given_up.is_none().then_some(carried));
                self.awaits_carried = self.awaits_carried.saturating_sub(1);
                if self.awaits_carried == 0 {
                    self.begin()?;
                }
            }
            Event::TimerFired { id: CommandId::START_DELAY } => self.begin()?,
            Event::ActivityCompleted { id, result } => {
                self.scope.resolve(*id, Resolution::Value(result.clone()));
            }
            Event::ActivityFailed { id, failure } => {
                self.scope.resolve(*id, Resolution::Failed(Box::new(failure.clone())));
            }
            Event::StepCompleted { id, step, result } => {
                self.check_step(*id, step)?;
                self.scope.resolve(*id, Resolution::Value(result.clone()));
            }
            Event::StepFailed { id, step, failure } => {
                self.check_step(*id, step)?;
                self.scope.resolve(*id, Resolution::Failed(Box::new(failure.clone())));
            }
            Event::ChildCompleted { id, result } => {
                self.scope.resolve(*id, Resolution::Value(result.clone()));
            }
            Event::ChildFailed { id, failure } => {
                self.scope.resolve(*id, Resolution::Failed(Box::new(failure.clone())));
            }
            Event::TimerFired { id } => self.scope.resolve(*id, Resolution::Fired),
            Event::SignalReceived { message, signal, payload, key, sender, trace } => {
                let (key, sender, trace) = (key.clone(), *sender, trace.clone());
                let arrival = Arrival { key, sender, trace, ..Arrival::new(*message, payload.clone()) };
                self.scope.receive(Kind::Signal, signal, arrival);
            }
            Event::UpdateReceived { message, update, request, key, trace } => {
                let (key, trace) = (key.clone(), trace.clone());
                let arrival = Arrival { key, trace, ..Arrival::new(*message, request.clone()) };
                self.scope.receive(Kind::Update, update, arrival);
            }
            Event::CompensationsEnded { id, uncompensated } => {
                self.scope.round_ended(*id, uncompensated.clone());
            }
            Event::CancelRequested { .. } | Event::DeadlinePassed { .. } => {
                if self.input.is_some() {
                    // A run that is cancelled before its delayed start never runs its code.
                    self.input = None;
                    self.future = Some(Box::pin(async { Err(WorkflowError::cancelled()) }));
                    self.waker.wake_by_ref();
                }
                self.scope.cancel();
            }
            Event::RunAdopted { .. }
            | Event::ActivityScheduled { .. }
            | Event::ActivityAttemptStarted { .. }
            | Event::ActivityAttemptFailed { .. }
            | Event::ActivityAttemptLost { .. }
            | Event::RetryRequested { .. }
            | Event::ActivityEnqueued { .. }
            | Event::ActivityCancelled { .. }
            | Event::TimerStarted { .. }
            | Event::TimerCancelled { .. }
            | Event::ValueRecorded { .. }
            | Event::QueueResolved { .. }
            | Event::ViewPublished { .. }
            | Event::AttributeSet { .. }
            | Event::RunPaused { .. }
            | Event::RunUnpaused { .. }
            | Event::RunStalled { .. }
            | Event::RunResumed { .. }
            | Event::RunEnding { .. }
            | Event::SignalSent { .. }
            | Event::ChildStarted { .. }
            | Event::ChildBound { .. }
            | Event::ChildCancelRequested { .. }
            | Event::ChildCancelled { .. }
            | Event::UpdateReplied { .. }
            | Event::UpdateDropped { .. }
            | Event::CompensationRegistered { .. }
            | Event::CompensationDiscarded { .. }
            | Event::CompensationsBegun { .. }
            | Event::CompensationScheduled { .. }
            | Event::CompensationCompleted { .. }
            | Event::CompensationFailed { .. }
            | Event::RunCompleted { .. }
            | Event::RunFailed { .. }
            | Event::RunCancelled { .. }
            | Event::RunTerminated { .. }
            | Event::RunTimedOut { .. }
            | Event::RunContinued { .. }
            | Event::RunRetried { .. }
            | Event::MessagesKnown { .. } => {
                return Err(format!("{} is no resolution; this is a bug of pgworkflows", resolution.name()));
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), String> {
        if let Some(input) = self.input.take() {
            let context = Context::new(Rc::clone(&self.scope));
            self.future = Some((self.make)(context, &input)?);
            self.waker.wake_by_ref();
        }
        Ok(())
    }

    fn check_step(&self, id: CommandId, step: &Name) -> Result<(), String> {
        if self.scope.asked_for_step(id, step) {
            return Ok(());
        }
        Err(format!(
            "the log contains an outcome of step `{step}` (call {id}), but the code asked for no such step; it waits \
             for {}",
            join_or(&self.scope.waits(4).iter().map(ToString::to_string).collect::<Vec<_>>(), "nothing")
        ))
    }

    /// Polls until the code waits, nothing was woken since that poll began, and no call waits for a buffered signal. The main
    /// line comes first, then the handlers in the order of their arrivals; conditions are looked at once all of them wait.
    fn poll_until_quiet(&mut self, runtime: &UndrivenRuntime) -> Result<Option<How>, Fault> {
        self.scope.note_progress();
        loop {
            while self.root.take() {
                let Some(future) = &mut self.future else { return Ok(None) };
                let mut task = TaskContext::from_waker(&self.waker);
                let polled = future.as_mut().poll(&mut task);
                let is_over = polled.is_ready() || self.scope.is_continuing();
                if is_over {
                    // Dropping the calls that the code still holds cancels them, which is part of this decision.
                    self.future = None;
                    self.drop_handlers();
                }
                if !runtime.is_entered() {
                    return Err(self.runtime_left_entered().into());
                }
                if let Some(fault) = self.scope.take_fault() {
                    return Err(fault);
                }
                if let Some(input) = self.scope.take_continuation() {
                    return Ok(Some(How::Continued(input)));
                }
                if let Poll::Ready(result) = polled {
                    return Ok(Some(How::Returned(self.outcome(result))));
                }
            }
            let handled = self.poll_handlers(runtime)?;
            if let Some(input) = self.scope.take_continuation() {
                // A handler asked for it.
                self.future = None;
                self.drop_handlers();
                return Ok(Some(How::Continued(input)));
            }
            if !handled && !self.scope.wake_buffered_waiter() && !self.scope.wake_conditions() {
                return Ok(None);
            }
        }
    }

    fn end(&self, how: How) -> Box<WorkflowEnd> {
        Box::new(WorkflowEnd { how, left: self.scope.take_left(), carried: self.scope.take_all_carried() })
    }

    fn outcome(&self, result: Result<Payload, WorkflowError>) -> Outcome {
        match result {
            Ok(output) => Outcome::Completed(output),
            Err(error) => error.into_outcome(self.scope.payload_bytes_max()),
        }
    }

    /// Polls the handlers that were woken, and begins those that have something to do. Returns whether there was one.
    fn poll_handlers(&mut self, runtime: &UndrivenRuntime) -> Result<bool, Fault> {
        let scope = &self.scope;
        let mut is_entered = true;
        let polled = self.handlers.poll(scope, || {
            is_entered = runtime.is_entered();
            match scope.take_fault() {
                Some(fault) => Err(fault),
                None if is_entered => Ok(()),
                None => Err(String::new().into()),
            }
        });
        if is_entered { polled } else { Err(self.runtime_left_entered().into()) }
    }

    /// Drops all handlers: those at work, and then the registrations.
    fn drop_handlers(&mut self) {
        self.handlers.clear();
        drop(self.scope.stop_serving_all());
    }

    /// Drops code that leaves another runtime entered, which exits that runtime: otherwise its processor would continue
    /// in it.
    fn runtime_left_entered(&mut self) -> String {
        self.future = None;
        self.drop_handlers();
        format!(
            "workflow `{}` holds the guard of `Handle::enter` over an await{}: drop it before; use that runtime in \
             an activity or a step",
            self.scope.workflow(),
            self.location(None)
        )
    }

    /// Explains to people why the code cannot continue.
    fn diagnosis(&self, violation: &Violation) -> String {
        match violation {
            Violation::Panicked(panic) => {
                format!("the workflow panicked: {panic}; deploy code that does not, and the run resumes")
            }
            Violation::NotDurable { operation, line } => format!(
                "workflow `{}` {}{}, which is not durable: {}; deploy code that does, and the run resumes",
                self.scope.workflow(),
                operation.action,
                self.location(line.as_deref()),
                operation.alternative
            ),
        }
    }

    /// Names the line, if it is known, and that of the last durable call, since the line may be in tokio.
    fn location(&self, line: Option<&str>) -> String {
        let at = line.map(|line| format!("at {line}"));
        let after = match self.scope.last_source() {
            Some(source) => format!("after its durable call at {source}"),
            None => "before its first durable call".to_owned(),
        };
        format!(" ({})", at.into_iter().chain([after]).collect::<Vec<_>>().join(", "))
    }

    /// Refuses a wait that no resolution can end.
    fn check_waits(&self) -> Result<(), String> {
        if self.future.is_some() && self.scope.unresolved() == 0 {
            match self.scope.condition() {
                Some((_, true)) => return Ok(()),
                Some((source, false)) => {
                    return Err(format!(
                        "workflow `{}` waits for a condition at {source} that nothing can make true, because it waits for \
                         nothing else and has no handler; register one (`ctx.serve`) and keep its guard",
                        self.scope.workflow()
                    ));
                }
                None => {}
            }
            if let Some(deadlock) = self.scope.deadlock() {
                return Err(format!("workflow `{}` {deadlock}", self.scope.workflow()));
            }
            return Err(format!(
                "workflow `{}` waits for something that is not durable, such as a tokio timer or a channel; use \
                 `ctx.sleep`, `ctx.wait_for`, or put it into an activity or a step",
                self.scope.workflow()
            ));
        }
        Ok(())
    }
}

impl Program for AsyncProgram {
    fn apply(
        &mut self,
        seq: EventSeq,
        at: Timestamp,
        resolution: &Event,
        locals: Locals,
    ) -> Result<Decisions, Fault> {
        if self.root.take() || self.handlers.take_woken() {
            return Err(format!(
                "workflow `{}` was woken from outside the engine: it waits for something that is not durable, \
                 such as a tokio timer or a channel; use `ctx.sleep`, `ctx.wait_for`, or put it into an activity \
                 or a step",
                self.scope.workflow()
            )
            .into());
        }
        self.scope.set_now(at);
        self.scope.set_seq(seq);
        self.scope.set_locals(locals);
        if !self.scope.mark().begin_again(self.polled) {
            self.scope.mark().begin(self.scope.run(), self.scope.workflow(), self.scope.last_source());
        }
        let runtime = self.bare.idle_runtime();
        let result = runtime.run(|runtime| {
            self.resolve(resolution)?;
            self.poll_until_quiet(runtime)
        });
        let result = self.bare.renewed_after(result);
        self.polled = self.scope.mark().end();
        let how = result.map_err(|violation| self.diagnosis(&violation))??;
        if how.is_none() {
            self.check_waits()?;
        } else {
            self.scope.end();
        }
        let end = how.map(|how| self.end(how));
        Ok(Decisions { output: self.scope.take_output(), end })
    }

    fn propagator(&self) -> Propagator {
        self.bare.propagator()
    }

    fn reuse(&mut self, room: Vec<Issued>) {
        self.scope.reuse(room);
    }

    fn bytes(&self) -> usize {
        let future = self.future.as_ref().map_or(0, |future| size_of_val(&**future));
        future + self.handlers.bytes() + self.scope.buffered_bytes()
    }

    fn refusal(&self, update: &Name, request: &Payload) -> Option<String> {
        let check = self.scope.check_of(update)?;
        self.scope.mark().begin(self.scope.run(), self.scope.workflow(), self.scope.last_source());
        let checked = self.bare.run(|_| check(request));
        self.scope.mark().end();
        match checked {
            Ok(checked) => checked.err().map(|refusal| refusal.to_string()),
            Err(Violation::Panicked(panic)) => {
                Some(format!("the check of update `{update}` panicked: {panic}"))
            }
            Err(Violation::NotDurable { operation, .. }) => Some(format!(
                "the check of update `{update}` {}: {}",
                operation.action, operation.alternative
            )),
        }
    }

    fn waits(&self, limit: usize) -> Vec<Awaited> {
        self.scope.waits(limit)
    }
}

impl Drop for AsyncProgram {
    /// Leaving memory is no decision, so the calls of the dropped futures are not cancelled.
    fn drop(&mut self) {
        self.scope.detach();
        let (future, handlers) = (self.future.take(), std::mem::take(&mut self.handlers));
        // The code of a registered handler may hold the scope, which holds the code.
        let served = self.scope.stop_serving_all();
        if (future.is_some() || !handlers.is_empty() || !served.is_empty())
            && let Err(violation) = self.bare.run(|_| drop((future, handlers, served)))
        {
            let diagnosis = self.diagnosis(&violation);
            tracing::warn!(run = %self.scope.run(), "the workflow's code could not be dropped when the run left memory: {diagnosis}");
        }
        shielded("the drop of a waker", || self.scope.forget_calls());
    }
}
