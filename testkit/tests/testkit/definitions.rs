//! Workflows and activities that several tests use.

use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{TestEnv, TestEnvBuilder};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) const APPROVED: Signal<bool> = Signal::new("approved");

/// Declares an activity that no test executes as it is.
macro_rules! activity {
    ($type:ident, $name:literal, $input:ty => $output:ty) => {
        pub(crate) struct $type;

        #[async_trait]
        impl Activity for $type {
            const NAME: &'static str = $name;
            type Input = $input;
            type Output = $output;

            async fn execute(&self, _: ActivityContext, _: $input) -> ActivityResult<$output> {
                panic!("the real activity is executed by no test")
            }
        }
    };
}

activity!(Reserve, "reserve", String => u64);
activity!(Charge, "charge", u64 => String);

/// Reserves, waits for an approval, and charges with three attempts.
pub(crate) struct Order;

impl Workflow for Order {
    const NAME: &'static str = "order";
    type Input = String;
    type Output = String;

    async fn run(ctx: Context, item: String) -> WorkflowResult<String> {
        let cents = ctx.activity::<Reserve>(item.clone()).await?;
        if !ctx.wait_for(APPROVED).await? {
            return Err(WorkflowError::new("rejected", "nobody wants it"));
        }
        let retry = RetryPolicy::exponential().initial(HOUR).delay_max(HOUR).max_attempts(3);
        ctx.activity::<Charge>(cents).retry(retry).await
    }
}

pub(crate) struct Sleeps;

impl Workflow for Sleeps {
    const NAME: &'static str = "sleeps";
    type Input = Duration;
    type Output = ();

    async fn run(ctx: Context, time: Duration) -> WorkflowResult<()> {
        ctx.sleep(time).await
    }
}

/// An environment in which orders can be fulfilled.
pub(crate) fn orders() -> TestEnvBuilder {
    TestEnv::builder()
        .workflow::<Order>()
        .mock::<Reserve>(|item| Ok(item.len() as u64))
        .mock::<Charge>(|cents| Ok(format!("charged {cents}")))
}
