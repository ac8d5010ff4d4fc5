//! Executes activities and steps as tasks of the host. It must not decide anything: outcomes go back to the processor.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, pending, select};

use crate::data::cancellation::Cancellation;
use crate::data::failure::Failure;
use crate::data::id::RunId;
use crate::data::limits;
use crate::data::mean_duration::MeanDuration;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::guard::{caught, shielded};
use crate::host::{AttemptFuture, AttemptOf, Host};
use crate::log::attempt::Attempt;
use crate::observe::line_limit::{LineLimit, write_left_out};
use crate::observe::metrics::Metrics;
use crate::observe::spans::{self, OfRun, StepTag, in_attempt};
use crate::processor::memory::{MemoryBudget, Room};
use crate::worker::slots::{Slots, Work};
use crate::worker::ticket::Ticket;
use crate::workflow::activity::{ActivityContext, Services};
use crate::workflow::command::StepRequest;
use crate::workflow::current_executor::CurrentExecutor;
use crate::workflow::execute::guarded;
use crate::workflow::own_task::OwnTask;
use crate::workflow::registry::Registry;

/// The result of an attempt.
pub(crate) type AttemptResult = Result<Payload, Failure>;

/// The outcome of an attempt of an activity.
#[derive(Debug)]
pub(crate) enum AttemptOutcome {
    /// It ended. The room counts its bytes until it is taken in.
    Ended(AttemptResult, Room),
    /// It settled its task itself: there is nothing to report.
    Settled,
    /// It could not begin, because this build cannot read its input.
    Unreadable(String),
}

/// Executes the activities and steps of all processors, up to a number at a time. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Executor(Arc<Shared>);

/// One allocation, so that an attempt counts a single reference to what all threads share.
#[derive(Debug)]
struct Shared {
    services: Arc<Services>,
    slots: Slots,
    /// How long a step takes, whatever its name: names may be made at run time.
    steps_take: MeanDuration,
    memory: MemoryBudget,
    /// The executor lease of the task loop, if it has one.
    current: CurrentExecutor,
    /// Limits the lines about attempts and tasks.
    line_limit: Mutex<LineLimit>,
}

/// A step that is to be executed.
pub(crate) struct StepOf {
    pub(crate) run: RunId,
    pub(crate) workflow: Name,
    pub(crate) tag: StepTag,
    pub(crate) step: Box<StepRequest>,
}

/// Permits work to start while it is not cancelled and its lease can be trusted.
#[derive(Clone, Debug)]
pub(crate) struct StartPermit {
    pub(crate) cancellation: Cancellation,
    pub(crate) trust: Arc<LeaseTrust>,
    /// That of an attempt that may go to the task loop before it begins.
    pub(crate) ticket: Option<Arc<Ticket>>,
}

/// How long a lease can still be trusted. If the whole process was stopped, the lease may have expired before its processor
/// notices, and no work may begin under it.
#[derive(Debug)]
pub(crate) struct LeaseTrust {
    host: Arc<dyn Host>,
    patience: Duration,
    /// When the last successful renewal was sent, by the host's clock, in microseconds: in tests, eight
    /// thousand years pass.
    renewed: AtomicU64,
}

impl LeaseTrust {
    /// Trusts a lease that was renewed at `renewed`, and for `patience` after each renewal.
    pub(crate) fn new(host: Arc<dyn Host>, patience: Duration, renewed: Duration) -> Self {
        Self { host, patience, renewed: AtomicU64::new(micros(renewed)) }
    }

    /// The lease was renewed by a request sent at that time.
    pub(crate) fn renewed(&self, sent: Duration) {
        self.renewed.fetch_max(micros(sent), Ordering::Relaxed);
    }

    /// How much longer it can be trusted.
    pub(crate) fn remaining(&self) -> Duration {
        let renewed = Duration::from_micros(self.renewed.load(Ordering::Relaxed));
        (renewed + self.patience).saturating_sub(self.host.monotonic())
    }
}

/// Rounded down, so that a lease is not trusted longer.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl StartPermit {
    /// Returns the work's cancellation once it may begin; `None` if it may not. While the lease cannot be trusted, either its
    /// renewal is still to arrive or its processor is about to give the lease up and cancel the work.
    async fn granted(self) -> Option<Cancellation> {
        while !self.cancellation.is_cancelled() {
            if !self.trust.remaining().is_zero() {
                let may_begin = self.ticket.is_none_or(|ticket| ticket.begin());
                return may_begin.then_some(self.cancellation);
            }
            select(pin!(self.cancellation.noticed()), self.trust.host.sleep(TRUST_CHECK_INTERVAL)).await;
        }
        None
    }
}

/// About how many bytes an outcome takes beside its payload.
const OUTCOME_BYTES: usize = 256;

/// How long an attempt is thought to take while nothing is known: too long for others to wait for its slot.
const UNKNOWN: Duration = limits::OVERFLOW_WAIT.saturating_mul(2);

/// How often waiting work checks whether its lease can be trusted again.
const TRUST_CHECK_INTERVAL: Duration = Duration::from_millis(10);

impl Executor {
    pub(crate) fn new(
        services: Services,
        slots: Slots,
        memory: MemoryBudget,
        current: CurrentExecutor,
    ) -> Self {
        Self(Arc::new(Shared {
            services: Arc::new(services),
            slots,
            steps_take: MeanDuration::default(),
            memory,
            current,
            line_limit: Mutex::default(),
        }))
    }

    fn host(&self) -> &dyn Host {
        &*self.0.services.host
    }

    /// The slots of this process's own attempts and steps.
    pub(crate) fn slots(&self) -> &Slots {
        &self.0.slots
    }

    /// What the worker counts.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.services.metrics
    }

    /// Whether further attempts would wait so long for a slot that others should execute them.
    pub(crate) fn is_overfull(&self) -> bool {
        self.0.slots.is_overfull()
    }

    /// Executes an attempt of an activity, unless it is cancelled before it begins.
    pub(crate) fn execute(
        &self,
        registry: &Registry,
        attempt: Box<Attempt>,
        permit: StartPermit,
        reply: impl FnOnce(AttemptOutcome) + Send + 'static,
    ) {
        self.execute_in(&self.0.slots, registry, attempt, None, permit, reply);
    }

    /// The same, in a slot of those given, for an attempt that may be a task.
    pub(crate) fn execute_in(
        &self,
        slots: &Slots,
        registry: &Registry,
        attempt: Box<Attempt>,
        task: Option<OwnTask>,
        permit: StartPermit,
        reply: impl FnOnce(AttemptOutcome) + Send + 'static,
    ) {
        let Some(activity) = registry.activity(&attempt.activity).cloned() else { return };
        let takes = activity.takes.get().unwrap_or(UNKNOWN);
        let (this, waiting) = (self.clone(), slots.line_up(Work { takes, is_task: task.is_some() }));
        let work = async move {
            let Some(slot) = waiting.slot().await else { return };
            let Some(cancellation) = permit.granted().await else { return };
            let context = this.context(&attempt, &cancellation, task.clone());
            let _running = this.0.services.metrics.begin_attempt();
            let span = spans::attempt(&attempt, &this.0.services.propagator);
            // Deserializing the input runs user code, too.
            let begun = caught(|| span.in_scope(|| activity.code.attempt(context, &attempt.input)))
                .unwrap_or_else(|panic| {
                    Err(format!("reading the input of activity `{}` panicked: {panic}", attempt.activity))
                });
            let work = match begun {
                Ok(work) => work,
                Err(problem) => return reply(AttemptOutcome::Unreadable(problem)),
            };
            let of = AttemptOf {
                run: attempt.run,
                call: attempt.id,
                attempt: attempt.attempt,
                name: &attempt.activity,
                input: Some(&attempt.input),
                cancellation: &cancellation,
            };
            let work = this.host().attempt(of, in_attempt(span, work));
            let limit = pin!(async {
                match attempt.options.get().start_to_close {
                    Some(limit) => this.host().sleep(limit).await,
                    None => pending().await,
                }
            });
            let (cancelled, began) = (pin!(cancellation.noticed()), this.host().monotonic());
            let ended = select(work, select(limit, cancelled)).await;
            let took = this.host().monotonic().saturating_sub(began);
            activity.takes.note(took);
            match ended {
                Either::Left((result, _)) => {
                    this.0.services.metrics.attempt_ended(took, result.is_ok());
                    let Some(room) = this.room(&result, &cancellation).await else { return };
                    // First the slot, so that whoever gets the reply finds it free.
                    drop(slot);
                    let is_settled = task.is_some_and(|task| task.is_settled());
                    let ended = if is_settled {
                        AttemptOutcome::Settled
                    } else {
                        AttemptOutcome::Ended(result, room)
                    };
                    reply(ended);
                }
                Either::Right((Either::Left(_), work)) => {
                    let limit = attempt.options.get().start_to_close.unwrap_or_default();
                    let message = format!("the attempt took longer than {limit:?} (start_to_close)");
                    let failed = Err(Failure::new("timed-out", message));
                    this.0.services.metrics.attempt_ended(took, false);
                    reply(AttemptOutcome::Ended(failed, this.0.memory.take(0)));
                    cancel(&cancellation);
                    this.wind_down(work).await;
                }
                Either::Right((Either::Right(_), work)) => this.wind_down(work).await,
            }
        };
        self.host().spawn(Box::pin(work));
    }

    /// Executes a step, up to its last attempt, unless it is cancelled.
    pub(crate) fn execute_step(
        &self,
        of: StepOf,
        permit: StartPermit,
        reply: impl FnOnce(AttemptResult, Room) + Send + 'static,
    ) {
        let takes = self.0.steps_take.get().unwrap_or(UNKNOWN);
        let (this, waiting) = (self.clone(), self.0.slots.line_up(Work { takes, is_task: false }));
        let StepOf { run, workflow, tag, mut step } = of;
        let seed = run.as_u128() as u64 ^ u64::from(step.id.get());
        let work = async move {
            let Some(_slot) = waiting.slot().await else { return };
            let Some(cancellation) = permit.granted().await else { return };
            let (key, trace) = (tag.key.as_deref(), tag.trace.as_deref());
            let of_run = OfRun { run, workflow: &workflow, key, trace };
            let _running = this.0.services.metrics.begin_attempt();
            let work = async {
                let mut attempt = 1;
                loop {
                    let (name, cancellation, propagator) =
                        (&step.name, &cancellation, &this.0.services.propagator);
                    let of = AttemptOf { run, call: step.id, attempt, name, input: None, cancellation };
                    let task = &mut step.task;
                    let span = spans::step_attempt(of_run, (&step.name, step.id, attempt), propagator);
                    let work = in_attempt(span, guarded(async { task().await }));
                    let began = this.host().monotonic();
                    let result = this.host().attempt(of, work).await;
                    this.0
                        .services
                        .metrics
                        .attempt_ended(this.host().monotonic().saturating_sub(began), result.is_ok());
                    let delay = match &result {
                        Ok(_) => None,
                        Err(failure) => step.retry.delay_after(attempt, failure, seed),
                    };
                    let (Some(delay), Err(failure)) = (delay, &result) else { return result };
                    this.step_failed(of_run, &step, attempt, delay, failure);
                    this.host().sleep(delay).await;
                    attempt += 1;
                    this.0.services.metrics.attempts_started.add(1);
                }
            };
            let (work, cancelled, began) =
                (pin!(work), pin!(cancellation.noticed()), this.host().monotonic());
            let ended = select(work, cancelled).await;
            this.0.steps_take.note(this.host().monotonic().saturating_sub(began));
            match ended {
                Either::Left((result, _)) => {
                    if let Some(room) = this.room(&result, &cancellation).await {
                        reply(result, room);
                    }
                }
                Either::Right(((), work)) => {
                    select(work, this.host().sleep(limits::CANCELLED_GRACE)).await;
                }
            }
        };
        self.host().spawn(Box::pin(work));
    }

    /// Logs that an attempt of a step failed and another one follows, of which the run's log says nothing.
    fn step_failed(
        &self,
        of: OfRun<'_>,
        step: &StepRequest,
        attempt: u32,
        delay: Duration,
        failure: &Failure,
    ) {
        if !self.allows_line("step.attempt-failed") {
            return;
        }
        let OfRun { run, workflow, key, .. } = of;
        let (activity, call, attempts_max) = (&step.name, step.id, step.retry.attempts_max());
        tracing::warn!(
            %run, %workflow, key, %activity, %call, attempt, attempts_max, again_in = ?delay,
            failure_type = %failure.type_name, %failure, "an attempt of a step failed"
        );
    }

    /// Whether a line of this kind may be written now.
    pub(crate) fn allows_line(&self, kind: &'static str) -> bool {
        self.pass_line_limit();
        self.0.line_limit.lock().unwrap_or_else(PoisonError::into_inner).allows(kind)
    }

    /// Another second may have begun: the log is told what was left out of the one before.
    pub(crate) fn pass_line_limit(&self) {
        let second = self.host().monotonic().as_secs();
        let left_out = self.0.line_limit.lock().unwrap_or_else(PoisonError::into_inner).pass(second);
        write_left_out(&self.0.services.worker, left_out);
    }

    fn context(
        &self,
        attempt: &Attempt,
        cancellation: &Cancellation,
        task: Option<OwnTask>,
    ) -> ActivityContext {
        ActivityContext {
            run: attempt.run,
            command: attempt.id,
            attempt: attempt.attempt,
            scheduled_at: attempt.scheduled_at,
            cancellation: cancellation.clone(),
            task,
            services: Arc::clone(&self.0.services),
            executor: self.0.current.clone(),
        }
    }

    /// Waits until there is room in memory for an outcome; until then it keeps its slot. `None` if it is not wanted any more.
    async fn room(&self, result: &AttemptResult, cancellation: &Cancellation) -> Option<Room> {
        let bytes = match result {
            Ok(payload) => payload.bytes().len(),
            Err(failure) => failure.bytes(),
        };
        let room = pin!(self.0.memory.take_for_outcome(OUTCOME_BYTES + bytes));
        match select(room, pin!(cancellation.noticed())).await {
            Either::Left((room, _)) => Some(room),
            Either::Right(_) => None,
        }
    }

    /// Gives cancelled work a moment to notice and end, then drops it.
    async fn wind_down(&self, work: AttemptFuture<'_>) {
        select(work, self.host().sleep(limits::CANCELLED_GRACE)).await;
    }
}

/// Tells work that its outcome is no longer wanted. This may wake user code.
pub(crate) fn cancel(cancellation: &Cancellation) {
    shielded("a waker that waits for a cancellation", || cancellation.cancel());
}

#[cfg(test)]
mod tests;
