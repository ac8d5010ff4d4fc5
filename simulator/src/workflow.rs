//! The workflow that executes a plan, and the activities that tell the ledger of each execution. It must not know of
//! faults.

pub(crate) mod serving;

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{LocalBoxFuture, select_all};
use pgworkflows_core::Recipient;
use pgworkflows_core::activity::{ActivityDef, ActivityFn};
use pgworkflows_core::host::Host;
use pgworkflows_core::prelude::*;
use pgworkflows_core::select;
use pgworkflows_core::worker::WorkerBuilder;
use pgworkflows_core::workflow::{self, CallFuture, Carried, ChildPolicy};
use pgworkflows_macros::{Failure, activities};
use pgworkflows_testkit::runtime::dice::mix;

use crate::config::{Code, WorkerRole};
use crate::cost::{Metered, moment};
use crate::host::SimHost;
use crate::ledger::Ledger;
use crate::plan::{Child, FailureMode, Kept, Op, SIGNALS, Work};
use crate::workflow::serving::Desk;

const LEFT: Signal<u64> = Signal::new(SIGNALS[0]);
const RIGHT: Signal<u64> = Signal::new(SIGNALS[1]);
/// A signal that is never sent.
const NEVER: Signal<u64> = Signal::new("never");
/// A signal that only runs send. No plan waits for it, and some serve it.
pub(crate) const TOLD: Signal<()> = Signal::new("told");

/// The hash of all times that a run has seen so far, and the sum of what it drew last.
pub(crate) const TIMES: View<u64> = View::new("times");
pub(crate) const DRAWN: View<u64> = View::new("drawn");

/// Executes a plan. A broken build panics where the plan has a mine. The other workflow has another name, and not every
/// worker knows it.
pub(crate) struct PlanWorkflow<const BROKEN: bool = false, const OTHER: bool = false>;

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) value: u64,
    /// The signals in the order in which the run took them.
    pub(crate) taken: Vec<(usize, u64)>,
    /// The updates in the order in which the run answered them.
    pub(crate) answered: Vec<u64>,
    /// How many signals of other runs its handlers took.
    told: u64,
    /// A hash of all times that the run saw, in order.
    pub(crate) times: u64,
}

/// The activity queue to which plans send activities.
pub(crate) const ACTIVITY_QUEUE: &str = "elsewhere";

/// How many workers an activity follows until any worker may execute it.
const WORKERS_FOLLOWED: u32 = 3;

/// The message of a planned panic.
pub(crate) const PLANNED_PANIC: &str = "the plan says so";

thread_local! {
    /// What the workflow last returned on this thread: the result of a replay.
    static RETURNED: RefCell<Option<Summary>> = const { RefCell::new(None) };
}

/// Takes what the workflow last returned on this thread.
pub(crate) fn take_returned() -> Option<Summary> {
    RETURNED.take()
}

impl<const BROKEN: bool, const OTHER: bool> Workflow for PlanWorkflow<BROKEN, OTHER> {
    const NAME: &'static str = if OTHER { "planned-otherwise" } else { "planned" };
    type Input = Op;
    type Output = Summary;

    async fn run(ctx: Context, plan: Op) -> WorkflowResult<Summary> {
        let (seen, held, desk) = (Rc::default(), Rc::default(), Shared::default());
        let interpreter = Interpreter { ctx, seen, held, carried: Rc::default(), desk, broken: BROKEN };
        let (plan, next) = plan.split_onward();
        let value = Metered(interpreter.clone().interpret(plan)).await?;
        if let Some(next) = next {
            let next = next.awaiting(interpreter.carried.take());
            interpreter.ctx.continue_as_new::<Self>(next).await;
        }
        let told = interpreter.desk.with(|desk| desk.told());
        let summary = Summary { value, told, ..interpreter.seen.take() };
        RETURNED.set(Some(summary.clone()));
        Ok(summary)
    }
}

/// Executes the ops of a plan.
#[derive(Clone)]
struct Interpreter {
    ctx: Context,
    seen: Rc<RefCell<Summary>>,
    /// The children that it holds to the end of the run.
    held: Rc<RefCell<Vec<workflow::Child<PlanWorkflow>>>>,
    /// The children that it carries along.
    carried: Rc<RefCell<Vec<Carried<PlanWorkflow>>>>,
    desk: Shared<Desk>,
    broken: bool,
}

/// What may become of a child.
const POLICIES: [ChildPolicy; 4] =
    [ChildPolicy::RequestAndWait, ChildPolicy::Request, ChildPolicy::Terminate, ChildPolicy::Leave];

impl Interpreter {
    fn interpret(self, op: Op) -> LocalBoxFuture<'static, WorkflowResult<u64>> {
        Box::pin(async move {
            let result = self.clone().interpret_one(op).await;
            let now = self.ctx.now().timestamp_micros() as u64;
            let mut seen = self.seen.borrow_mut();
            seen.times = mix(seen.times ^ now);
            self.ctx.publish(TIMES, &seen.times);
            result
        })
    }

    async fn interpret_one(self, op: Op) -> WorkflowResult<u64> {
        let ctx = &self.ctx;
        let each = |ops: Vec<Op>| {
            let this = self.clone();
            ops.into_iter().map(move |op| this.clone().interpret(op))
        };
        match op {
            Op::Work(work) if work.follows => follow(ctx, work).await,
            Op::Work(work) => perform(ctx, work, None).await,
            Op::Step(work) => step(ctx, work).await,
            Op::Sleep { millis } => ctx.sleep(Duration::from_millis(millis)).await.map(|()| 1),
            Op::Take { signal } => {
                let token = ctx.wait_for(signal_at(signal)).await?;
                self.took(signal, token);
                Ok(1)
            }
            Op::TakeFor { signal, millis } => {
                match ctx.wait_for(signal_at(signal)).timeout(Duration::from_millis(millis.max(1))).await {
                    Ok(token) => self.took(signal, token),
                    Err(error) if error.is_timeout() => {}
                    Err(error) => return Err(error),
                }
                Ok(1)
            }
            Op::Answer { millis } => self.answer(millis).await,
            Op::Serve(serve, op) => self.serve(serve, *op).await,
            Op::Tell { key } => {
                let keyed = |key| Recipient::keyed::<PlanWorkflow>(format!("run {key}"));
                ctx.signal(key.map_or(ctx.run_id().into(), keyed), TOLD, ());
                Ok(0)
            }
            Op::Child(child) => self.child(child).await,
            Op::Endless => ctx.wait_for(NEVER).await,
            Op::Carried(child) => ctx.carried::<PlanWorkflow>(child).await.map(|summary| summary.value),
            Op::Draw { times } => Ok(draw(ctx, times).await),
            Op::OnFailure(work) => Ok(on_failure(ctx, work)),
            Op::Sequence(ops) => {
                let mut sum = 0;
                for part in each(ops) {
                    sum += part.await?;
                }
                Ok(sum)
            }
            Op::All(ops) => ctx.when_all(each(ops)).await.map(|values| values.into_iter().sum()),
            Op::Both(one, other) => {
                let (one, other) = (self.clone().interpret(*one), self.clone().interpret(*other));
                ctx.when_all((one, other)).await.map(|(one, other)| one + other)
            }
            Op::Each { limit, settles, ops } => {
                let branches = ctx.for_each(ops, |op| self.clone().interpret(op)).limit(limit);
                if settles {
                    branches.settle().await?.into_iter().sum()
                } else {
                    branches.await.map(|values| values.into_iter().sum())
                }
            }
            Op::Race(ops) => select_all(each(ops)).await.0,
            Op::Select(one, other) => self.select(*one, *other).await,
            Op::Locked(one, other) => self.lock(*one, *other).await,
            Op::Spawned(work, op) => self.spawn(work, *op).await,
            Op::Shielded(op) => ctx.shield(self.clone().interpret(*op)).await,
            Op::Scoped(op) => self.scope(*op).await,
            Op::Undo { millis } => self.undo(millis).await,
            Op::Shield(op, cleanup) => self.clean_up_after(*op, cleanup).await,
            Op::Falter { times } if ctx.attempt() > times => Ok(0),
            Op::Falter { .. } | Op::Fail => Err(WorkflowError::new("planned", PLANNED_PANIC)),
            // Without the panic hook, because planned panics need no message.
            Op::Mine if self.broken => resume_unwind(Box::new(PLANNED_PANIC)),
            // The whole plan ends with it.
            Op::Mine | Op::Onward(_) => Ok(0),
        }
    }

    /// Executes an op, and a clean-up if it fails or is cancelled.
    async fn clean_up_after(&self, op: Op, cleanup: Work) -> WorkflowResult<u64> {
        match self.clone().interpret(op).await {
            Ok(value) => Ok(value),
            Err(_) => perform(&self.ctx, cleanup, None).await,
        }
    }

    /// Starts a child, and does what the plan does with it.
    async fn child(&self, Child { plan, key, queue, policies, kept }: Child) -> WorkflowResult<u64> {
        let [on_cancel, at_end] = policies.map(|number| POLICIES[number]);
        let mut child = self.ctx.child::<PlanWorkflow>(*plan).on_cancel(on_cancel).on_parent_end(at_end);
        if let Some(key) = key {
            child = child.key(format!("child {key}"));
        }
        if let Some(queue) = queue {
            child = child.queue(queue);
        }
        match kept {
            Kept::ForOutcome => return child.await.map(|summary| summary.value),
            Kept::ToTheEnd => self.held.borrow_mut().push(child.start()),
            Kept::Along => self.carried.borrow_mut().push(child.start().carry()),
            Kept::ForAWhile { millis } => {
                let child = child.start();
                self.ctx.sleep(Duration::from_millis(millis)).await?;
                drop(child);
            }
        }
        Ok(0)
    }

    /// Executes an op in a scope whose deadline is never reached.
    async fn scope(&self, op: Op) -> WorkflowResult<u64> {
        let limit = Duration::from_secs(365 * 24 * 3600);
        self.ctx.scope(self.clone().interpret(op)).deadline(limit).await
    }

    /// Compensates what is registered. After that time, it does not wait any more.
    async fn undo(&self, millis: Option<u64>) -> WorkflowResult<u64> {
        let round = self.ctx.branch(async { Ok::<_, WorkflowError>(self.ctx.compensate().await) });
        match millis {
            Some(millis) => _ = round.timeout(Duration::from_millis(millis)).await.ok(),
            None => _ = round.await?,
        }
        Ok(0)
    }

    /// Begins work, and awaits it after an op.
    async fn spawn(&self, work: Work, op: Op) -> WorkflowResult<u64> {
        let spawned = self.ctx.spawn(call(&self.ctx, work, None));
        let value = self.clone().interpret(op).await?;
        Ok(value + spawned.await?)
    }

    /// Waits for two ops, in the order in which they end.
    async fn select(&self, one: Op, other: Op) -> WorkflowResult<u64> {
        let mut one = self.ctx.branch(self.clone().interpret(one));
        let mut other = self.ctx.branch(self.clone().interpret(other));
        let mut sum = 0;
        loop {
            select! {
                value = &mut one => sum += value?,
                value = &mut other => sum += value?,
                complete => break Ok(sum),
            }
        }
    }

    /// Lets two ops race for a mutex. The end of the first one grants it to the other one, which is dropped then.
    async fn lock(&self, one: Op, other: Op) -> WorkflowResult<u64> {
        let mutex = self.ctx.mutex("mutex", ());
        let locked = async |op: Op| {
            let _guard = mutex.lock().await?;
            self.clone().interpret(op).await
        };
        let value = select! {
            value = self.ctx.branch(locked(one)) => value,
            value = self.ctx.branch(locked(other)) => value,
        };
        drop(mutex.lock().await?);
        value
    }

    fn took(&self, signal: usize, token: u64) {
        self.seen.borrow_mut().taken.push((signal, token));
    }
}

pub(crate) fn signal_at(signal: usize) -> Signal<u64> {
    if signal == 0 { LEFT } else { RIGHT }
}

fn on_failure(ctx: &Context, work: Work) -> u64 {
    let (retry, is_task, is_given_up) = (work.retry(), work.is_task, work.value.is_multiple_of(5));
    let mut compensation = ctx.compensate_with(work.activity(), work).retry(retry);
    if is_task {
        compensation = compensation.queue(ACTIVITY_QUEUE);
    }
    if is_given_up {
        compensation.discard();
    }
    0
}

/// Executes an activity on the worker that executed another one before it. If that worker is lost, another one is chosen.
async fn follow(ctx: &Context, work: Work) -> WorkflowResult<u64> {
    for _ in 0..WORKERS_FOLLOWED {
        let worker = ctx.activity::<Locate>(()).await?;
        match perform(ctx, work.clone(), Some(worker)).await {
            Err(lost) if lost.failure().is_some_and(|failure| failure.is("worker-lost")) => {}
            performed => return performed,
        }
    }
    perform(ctx, work, None).await
}

/// Executes an activity, in the activity queue of that worker if one is given.
async fn perform(ctx: &Context, work: Work, worker: Option<String>) -> WorkflowResult<u64> {
    Ok(call(ctx, work, worker).await?)
}

/// The call of an activity, with its options.
fn call(ctx: &Context, work: Work, worker: Option<String>) -> CallFuture<(Work,), u64, Planned> {
    let retry = work.retry();
    let (at_most_once, start_to_close, schedule_to_close) =
        (work.at_most_once, work.start_to_close, work.schedule_to_close);
    let queue = worker.or_else(|| work.is_task.then(|| ACTIVITY_QUEUE.to_owned()));
    let mut call = ctx.call(work.activity(), work).retry(retry);
    if at_most_once {
        call = call.at_most_once();
    }
    if let Some(queue) = queue {
        call = call.queue(queue);
    }
    if let Some(millis) = start_to_close {
        call = call.start_to_close(Duration::from_millis(millis));
    }
    if let Some(millis) = schedule_to_close {
        call = call.schedule_to_close(Duration::from_millis(millis));
    }
    call
}

/// Draws numbers, and publishes their sum after each.
async fn draw(ctx: &Context, times: u32) -> u64 {
    let mut sum = 0;
    for _ in 0..times {
        let drawn = ctx.random() % 10 + ctx.uuid().as_u128() as u64 % 10;
        sum += ctx.record("drawn", || drawn + moment() % 10).await;
        ctx.publish(DRAWN, &sum);
    }
    sum
}

/// Steps have no host, so these take no time.
async fn step(ctx: &Context, work: Work) -> WorkflowResult<u64> {
    let mut attempt = 0;
    let retry = work.retry();
    ctx.step("step", move || {
        attempt += 1;
        let result = work.attempt(attempt).map_err(ActivityError::from);
        async move { result }
    })
    .retry(retry)
    .await
}

impl Work {
    fn retry(&self) -> RetryPolicy {
        let initial = Duration::from_millis(self.retry_millis);
        let policy = RetryPolicy::exponential().initial(initial).delay_max(initial * 4);
        policy.max_attempts(self.attempts_max)
    }

    /// The activity that does it.
    fn activity(&self) -> ActivityDef<(Self,), u64, Planned> {
        if self.is_transactional { PERFORM_ONCE } else { Perform::PERFORM }
    }

    /// The outcome of an attempt.
    fn attempt(&self, attempt: u32) -> Result<u64, Planned> {
        if attempt > self.failures {
            return Ok(self.value);
        }
        match self.failure_mode {
            // A step cannot end the process of its worker.
            FailureMode::Error | FailureMode::Deadly => Err(Planned::Error { attempt }),
            FailureMode::NonRetryable => Err(Planned::Final { attempt }),
            FailureMode::Panic => resume_unwind(Box::new(PLANNED_PANIC)),
        }
    }
}

/// The failure of an attempt.
#[derive(Debug, Failure)]
#[failure(crate = pgworkflows_core)]
enum Planned {
    #[failure("planned", "attempt {attempt} fails")]
    Error { attempt: u32 },
    #[failure("planned-final", fatal, "attempt {attempt} fails for good")]
    Final { attempt: u32 },
}

/// Does what its input says, and tells the ledger.
#[derive(Clone)]
struct Perform {
    host: Arc<SimHost>,
    ledger: Arc<Ledger>,
}

#[activities(crate = pgworkflows_core)]
impl Perform {
    #[activity(name = "perform")]
    async fn perform(&self, ctx: &ActivityContext, work: Work) -> Result<u64, Planned> {
        self.ledger.executes(ctx.idempotency_key(), ctx.attempt(), self.host.owner());
        work.ask(ctx, &self.host).await;
        if work.millis > 0 {
            self.host.sleep(Duration::from_millis(work.millis)).await;
        }
        if work.failure_mode == FailureMode::Deadly && ctx.attempt() <= work.failures {
            self.ledger.lock().dying.push(self.host.owner());
            std::future::pending::<()>().await;
        }
        work.attempt(ctx.attempt())
    }
}

/// The same, and its outcome counts even if its run gives it up. The memory store has no transactions, so the outcome is
/// reported like that of any task.
const PERFORM_ONCE: ActivityDef<(Work,), u64, Planned> =
    ActivityDef::new("perform-once").options(|| ActivityOptions::default().transactional());

/// Says which activity queue leads to the worker that executes it.
struct Locate;

#[async_trait]
impl Activity for Locate {
    const NAME: &'static str = "locate";
    type Input = ();
    type Output = String;

    async fn execute(&self, ctx: ActivityContext, _: ()) -> ActivityResult<String> {
        ctx.worker_queue().await
    }
}

/// Registers what a worker has: the workflows that its code knows, and its activities.
pub(crate) fn register(
    worker: WorkerBuilder,
    role: WorkerRole,
    code: Code,
    host: &Arc<SimHost>,
    ledger: &Arc<Ledger>,
) -> WorkerBuilder {
    let perform = Perform { host: Arc::clone(host), ledger: Arc::clone(ledger) };
    let Code { broken, knows, .. } = code;
    let [one, other] = knows.map(|knows| knows && role.has_workflow);
    let worker = match (one, broken) {
        (false, _) => worker,
        (true, true) => worker.workflow::<PlanWorkflow<true>>(),
        (true, false) => worker.workflow::<PlanWorkflow>(),
    };
    let worker = match (other, broken) {
        (false, _) => worker,
        (true, true) => worker.workflow::<PlanWorkflow<true, true>>(),
        (true, false) => worker.workflow::<PlanWorkflow<false, true>>(),
    };
    let worker = match role.has_activity {
        true => {
            let perform_once = ActivityFn::new(PERFORM_ONCE, {
                let perform = perform.clone();
                move |ctx, (work,)| {
                    let perform = perform.clone();
                    async move { perform.perform(&ctx, work).await }
                }
            });
            worker.activities(perform).activities(perform_once).activity(Locate)
        }
        false => worker,
    };
    if role.queue_slots > 0 { worker.activity_queue(ACTIVITY_QUEUE, role.queue_slots) } else { worker }
}
