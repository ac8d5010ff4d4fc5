//! The workflow that carries a plan out, and the activities that tell the ledger of each execution. It must not
//! know of faults.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{LocalBoxFuture, select_all};
use pgworkflows_core::host::Host;
use pgworkflows_core::prelude::*;
use pgworkflows_core::worker::WorkerBuilder;
use pgworkflows_testkit::runtime::dice::mix;

use crate::cost::Costly;
use crate::host::SimHost;
use crate::ledger::Ledger;
use crate::plan::{Manner, Op, SIGNALS, Work};

pub(crate) const LEFT: Signal<u64> = Signal::new(SIGNALS[0]);
pub(crate) const RIGHT: Signal<u64> = Signal::new(SIGNALS[1]);

/// Carries a plan out. A broken build cannot where the plan has a mine.
pub(crate) struct Planned<const BROKEN: bool = false>;

/// What a planned run returns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) value: u64,
    /// The signals in the order in which the run took them.
    pub(crate) taken: Vec<(usize, u64)>,
    /// All times that the run saw, in the order in which it saw them.
    pub(crate) times: u64,
}

/// What a panic says that was planned.
pub(crate) const PLANNED: &str = "the plan says so";

thread_local! {
    /// What the workflow returned last on this thread: whoever replays a history can see what came of it.
    static RETURNED: RefCell<Option<Summary>> = const { RefCell::new(None) };
}

/// Takes what the workflow returned last on this thread.
pub(crate) fn take_returned() -> Option<Summary> {
    RETURNED.take()
}

impl<const BROKEN: bool> Workflow for Planned<BROKEN> {
    const NAME: &'static str = "planned";
    type Input = Op;
    type Output = Summary;

    async fn run(ctx: Context, plan: Op) -> WorkflowResult<Summary> {
        let carrier = Carrier { ctx, seen: Rc::default(), broken: BROKEN };
        let value = Costly(carrier.clone().carry_out(plan)).await?;
        let summary = Summary { value, ..carrier.seen.take() };
        RETURNED.set(Some(summary.clone()));
        Ok(summary)
    }
}

/// What carries out a part of a plan.
#[derive(Clone)]
struct Carrier {
    ctx: Context,
    seen: Rc<RefCell<Summary>>,
    broken: bool,
}

impl Carrier {
    fn carry_out(self, op: Op) -> LocalBoxFuture<'static, WorkflowResult<u64>> {
        Box::pin(async move {
            let result = self.clone().carry_out_one(op).await;
            let now = self.ctx.now().timestamp_micros() as u64;
            let mut seen = self.seen.borrow_mut();
            seen.times = mix(seen.times ^ now);
            result
        })
    }

    async fn carry_out_one(self, op: Op) -> WorkflowResult<u64> {
        let ctx = &self.ctx;
        let each = |ops: Vec<Op>| {
            let this = self.clone();
            ops.into_iter().map(move |op| this.clone().carry_out(op))
        };
        match op {
            Op::Work(work) => perform(ctx, work).await,
            Op::Step(work) => step(ctx, work).await,
            Op::Sleep { millis } => ctx.sleep(Duration::from_millis(millis)).await.map(|()| 1),
            Op::Take { signal } => {
                let token = ctx.wait_for(name(signal)).await?;
                self.took(signal, token);
                Ok(1)
            }
            Op::TakeFor { signal, millis } => {
                match ctx.wait_for(name(signal)).timeout(Duration::from_millis(millis.max(1))).await {
                    Ok(token) => self.took(signal, token),
                    Err(error) if error.is_timeout() => {}
                    Err(error) => return Err(error),
                }
                Ok(1)
            }
            Op::Draw => {
                let drawn = ctx.random() % 10 + ctx.uuid().as_u128() as u64 % 10;
                Ok(ctx.record("drawn", || drawn).await)
            }
            Op::OnFailure(work) => {
                let retry = work.retry();
                let _ = ctx.on_failure::<Perform>(work).retry(retry);
                Ok(0)
            }
            Op::Sequence(ops) => {
                let mut sum = 0;
                for part in each(ops) {
                    sum += part.await?;
                }
                Ok(sum)
            }
            Op::All(ops) => ctx.when_all(each(ops)).await.map(|values| values.into_iter().sum()),
            Op::Both(one, other) => {
                let (one, other) = (self.clone().carry_out(*one), self.clone().carry_out(*other));
                ctx.when_all((one, other)).await.map(|(one, other)| one + other)
            }
            Op::Race(ops) => select_all(each(ops)).await.0,
            Op::Shield(op, cleanup) => match self.clone().carry_out(*op).await {
                Ok(value) => Ok(value),
                Err(_) => perform(ctx, cleanup).await,
            },
            Op::Fail => Err(WorkflowError::new("planned", PLANNED)),
            // No panic hook: nobody wants to read of what was planned.
            Op::Mine if self.broken => resume_unwind(Box::new(PLANNED)),
            Op::Mine => Ok(0),
        }
    }

    fn took(&self, signal: usize, token: u64) {
        self.seen.borrow_mut().taken.push((signal, token));
    }
}

fn name(signal: usize) -> Signal<u64> {
    if signal == 0 { LEFT } else { RIGHT }
}

async fn perform(ctx: &Context, work: Work) -> WorkflowResult<u64> {
    let retry = work.retry();
    let (at_most_once, start_to_close, schedule_to_close) =
        (work.at_most_once, work.start_to_close, work.schedule_to_close);
    let mut call = ctx.activity::<Perform>(work).retry(retry);
    if at_most_once {
        call = call.at_most_once();
    }
    if let Some(millis) = start_to_close {
        call = call.start_to_close(Duration::from_millis(millis));
    }
    if let Some(millis) = schedule_to_close {
        call = call.schedule_to_close(Duration::from_millis(millis));
    }
    call.await
}

/// Steps have no surroundings of their own, so these take no time.
async fn step(ctx: &Context, work: Work) -> WorkflowResult<u64> {
    let mut attempt = 0;
    let retry = work.retry();
    ctx.step("step", move || {
        attempt += 1;
        let result = work.attempt(attempt);
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

    /// What comes of an attempt.
    fn attempt(&self, attempt: u32) -> ActivityResult<u64> {
        if attempt > self.failures {
            return Ok(self.value);
        }
        let error = ActivityError::new("planned", format!("attempt {attempt} fails"));
        match self.manner {
            // A step has no surroundings that it could end.
            Manner::Error | Manner::Deadly => Err(error),
            Manner::NonRetryable => Err(ActivityError::non_retryable(error)),
            Manner::Panic => resume_unwind(Box::new(PLANNED)),
        }
    }
}

/// Does what its input says, and tells the ledger of it.
struct Perform {
    host: Arc<SimHost>,
    ledger: Arc<Ledger>,
}

#[async_trait]
impl Activity for Perform {
    const NAME: &'static str = "perform";
    type Input = Work;
    type Output = u64;

    async fn execute(&self, ctx: ActivityContext, work: Work) -> ActivityResult<u64> {
        self.ledger.executes(ctx.idempotency_key(), ctx.attempt(), self.host.owner());
        if work.millis > 0 {
            self.host.sleep(Duration::from_millis(work.millis)).await;
        }
        if work.manner == Manner::Deadly && ctx.attempt() <= work.failures {
            self.ledger.lock().dying.push(self.host.owner());
            std::future::pending::<()>().await;
        }
        work.attempt(ctx.attempt())
    }
}

/// Registers the workflow, in a broken build or one that is not, and its activity.
pub(crate) fn register(
    worker: WorkerBuilder,
    broken: bool,
    host: &Arc<SimHost>,
    ledger: &Arc<Ledger>,
) -> WorkerBuilder {
    let perform = Perform { host: Arc::clone(host), ledger: Arc::clone(ledger) };
    let worker = if broken { worker.workflow::<Planned<true>>() } else { worker.workflow::<Planned>() };
    worker.activity(perform)
}
