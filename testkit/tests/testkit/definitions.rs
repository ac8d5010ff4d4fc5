//! Workflows and activities that several tests use.

use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) const APPROVED: Signal<bool> = Signal::new("approved");

/// Declares an activity that tests mock.
macro_rules! activity {
    ($type:ident, $name:literal, $input:ty => $output:ty) => {
        pub(crate) struct $type;

        #[async_trait]
        impl Activity for $type {
            const NAME: &'static str = $name;
            type Input = $input;
            type Output = $output;

            async fn execute(&self, _: ActivityContext, _: $input) -> ActivityResult<$output> {
                panic!("no test executes the real activity")
            }
        }
    };
}

/// Declares a workflow.
macro_rules! workflow {
    ($type:ident, $name:expr, |$ctx:ident, $input:tt: $in:ty| -> $out:ty $body:block) => {
        pub(crate) struct $type;

        impl Workflow for $type {
            const NAME: &'static str = $name;
            type Input = $in;
            type Output = $out;

            async fn run($ctx: Context, $input: $in) -> WorkflowResult<$out> $body
        }
    };
}

activity!(Reserve, "reserve", String => u64);
activity!(Charge, "charge", u64 => String);

// Reserves, waits for an approval, and charges with three attempts.
workflow!(Order, "order", |ctx, item: String| -> String {
    let cents = ctx.activity::<Reserve>(item.clone()).await?;
    if !ctx.wait_for(APPROVED).await? {
        return Err(WorkflowError::new("rejected", "nobody wants it"));
    }
    let retry = RetryPolicy::exponential().initial(HOUR).delay_max(HOUR).max_attempts(3);
    ctx.activity::<Charge>(cents).retry(retry).await
});

workflow!(Sleeps, "sleeps", |ctx, time: Duration| -> () { ctx.sleep(time).await });

workflow!(Endless, "endless", |ctx, (): ()| -> () {
    loop {
        ctx.sleep(HOUR).await?;
    }
});

/// An environment in which orders can be fulfilled.
pub(crate) fn orders() -> TestEnvBuilder {
    TestEnv::builder()
        .workflow::<Order>()
        .mock::<Reserve>(|item| Ok(item.len() as u64))
        .mock::<Charge>(|cents| Ok(format!("charged {cents}")))
}

/// Starts an order.
pub(crate) async fn order(env: &TestEnv) -> Result<TestRun<Order>, Error> {
    env.start::<Order>("book".to_owned()).await
}

/// Starts an order and approves it.
pub(crate) async fn approved_order(env: &TestEnv) -> Result<TestRun<Order>, Error> {
    let run = order(env).await?;
    run.signal(APPROVED, true).await?;
    Ok(run)
}

/// Demands that an error says all of this.
#[track_caller]
pub(crate) fn assert_says(error: &impl std::fmt::Display, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

/// Demands that a run can never end, and that the error says all of this.
pub(crate) async fn assert_stuck<W: Workflow>(run: &TestRun<W>, parts: &[&str]) {
    let error = run.result().await.err().expect("the run can never end");
    assert!(error.is_stuck(), "{error}");
    assert_says(&error, parts);
}

/// A script that starts one run.
pub(crate) fn starts<W>(input: W::Input) -> impl AsyncFn(TestEnv) -> Result<TestRun<W>, Error>
where
    W: Workflow<Input: Clone>,
{
    async move |env: TestEnv| env.start::<W>(input.clone()).await
}
