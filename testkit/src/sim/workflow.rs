//! The workflow that carries a plan out, and the activities that tell the ledger of each execution. It must not
//! know of faults.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{LocalBoxFuture, select_all};
use pgworkflows::prelude::*;
use pgworkflows::{Host, WorkerBuilder};

use super::host::SimHost;
use super::ledger::Ledger;
use super::plan::{Manner, Op, SIGNALS, Work};

pub(crate) const LEFT: Signal<u64> = Signal::new(SIGNALS[0]);
pub(crate) const RIGHT: Signal<u64> = Signal::new(SIGNALS[1]);

/// Carries a plan out.
pub(crate) struct Planned;

/// What a planned run returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) value: u64,
    /// The signals in the order in which the run took them.
    pub(crate) taken: Vec<(usize, u64)>,
}

type Taken = Rc<RefCell<Vec<(usize, u64)>>>;

impl Workflow for Planned {
    const NAME: &'static str = "planned";
    type Input = Op;
    type Output = Summary;

    async fn run(ctx: Context, plan: Op) -> WorkflowResult<Summary> {
        let taken = Taken::default();
        let value = carry_out(ctx, plan, Rc::clone(&taken)).await?;
        Ok(Summary { value, taken: taken.take() })
    }
}

fn carry_out(ctx: Context, op: Op, taken: Taken) -> LocalBoxFuture<'static, WorkflowResult<u64>> {
    Box::pin(async move {
        let each = |ops: Vec<Op>| {
            let (ctx, taken) = (ctx.clone(), Rc::clone(&taken));
            ops.into_iter().map(move |op| carry_out(ctx.clone(), op, Rc::clone(&taken)))
        };
        match op {
            Op::Work(work) => perform(&ctx, work).await,
            Op::Step(work) => step(&ctx, work).await,
            Op::Sleep { millis } => ctx.sleep(Duration::from_millis(millis)).await.map(|()| 1),
            Op::Take { signal } => {
                let token = ctx.wait_for(name(signal)).await?;
                taken.borrow_mut().push((signal, token));
                Ok(1)
            }
            Op::TakeFor { signal, millis } => {
                match ctx.wait_for(name(signal)).timeout(Duration::from_millis(millis.max(1))).await {
                    Ok(token) => taken.borrow_mut().push((signal, token)),
                    Err(error) if error.is_timeout() => {}
                    Err(error) => return Err(error),
                }
                Ok(1)
            }
            Op::Draw => Ok(ctx.random() % 10 + ctx.uuid().as_u128() as u64 % 10),
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
                let both = [*one, *other].map(|op| carry_out(ctx.clone(), op, Rc::clone(&taken)));
                let [one, other] = both;
                ctx.when_all((one, other)).await.map(|(one, other)| one + other)
            }
            Op::Race(ops) => select_all(each(ops)).await.0,
            Op::Shield(op, cleanup) => match carry_out(ctx.clone(), *op, Rc::clone(&taken)).await {
                Ok(value) => Ok(value),
                Err(_) => perform(&ctx, cleanup).await,
            },
            Op::Fail => Err(WorkflowError::new("planned", "the plan says so")),
        }
    })
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
            Manner::Error => Err(error),
            Manner::NonRetryable => Err(ActivityError::non_retryable(error)),
            // No panic hook: nobody wants to read of what was planned.
            Manner::Panic => resume_unwind(Box::new("the plan says so")),
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
        work.attempt(ctx.attempt())
    }
}

/// Registers the workflow and its activity.
pub(crate) fn register(worker: WorkerBuilder, host: &Arc<SimHost>, ledger: &Arc<Ledger>) -> WorkerBuilder {
    let perform = Perform { host: Arc::clone(host), ledger: Arc::clone(ledger) };
    worker.workflow::<Planned>().activity(perform)
}
