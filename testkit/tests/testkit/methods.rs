//! Workflows that are functions, and activities that are methods, under the tools of the testkit.

use pgworkflows::activity::ActivityDef;
use pgworkflows::prelude::*;
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere, explore};

#[derive(Clone, Debug, PartialEq, Failure)]
enum ChargeError {
    #[failure("card-declined", fatal, "declined: {0}")]
    Declined(String),
    #[failure("busy")]
    Busy,
}

#[derive(Debug, PartialEq, Failure)]
enum OrderError {
    #[failure("rejected", "{why}")]
    Rejected { why: String },
}

#[derive(Debug)]
struct Shop;

#[activities]
impl Shop {
    #[activity(name = "shop.reserve")]
    async fn reserve(&self, article: String) -> ActivityResult<u32> {
        Ok(article.len() as u32)
    }

    #[activity(name = "shop.release")]
    async fn release(&self, reservation: u32) -> ActivityResult<()> {
        let _ = reservation;
        Ok(())
    }

    #[activity(
        name = "shop.charge",
        retry = RetryPolicy::exponential().max_attempts(3),
        start_to_close = Duration::from_secs(20),
        schedule_to_close = Duration::from_secs(600)
    )]
    async fn charge(
        &self,
        ctx: &ActivityContext,
        article: String,
        cents: u64,
    ) -> Result<String, ChargeError> {
        match cents {
            0 if ctx.attempt() < 3 => Err(ChargeError::Busy),
            0..=100 => Ok(format!("{article} for {cents} in attempt {}", ctx.attempt())),
            _ => Err(ChargeError::Declined("no money".to_owned())),
        }
    }

    /// Not an activity.
    fn article(&self) -> String {
        "lamp".to_owned()
    }
}

#[workflow(name = "order")]
async fn order(ctx: Context, cents: u64) -> Result<String, CallError<OrderError>> {
    let article = Shop.article();
    let reservation = ctx.call(Shop::RESERVE, article.clone()).await?;
    ctx.compensate_with(Shop::RELEASE, reservation);
    match ctx.call(Shop::CHARGE, (article, cents)).timeout(Duration::from_secs(3600)).await {
        Err(CallError::Failed(ChargeError::Declined(why))) => Err(OrderError::Rejected { why })?,
        receipt => Ok(receipt.map_err(WorkflowError::from)?),
    }
}

fn shop() -> TestEnvBuilder {
    TestEnv::builder().workflow::<order>().activities(Shop)
}

#[tokio::test]
async fn methods_are_executed_with_their_arguments_and_options() -> Result<(), Error> {
    let env = shop().build();
    // A busy bank is tried three times, as the attribute says.
    assert_eq!(env.start::<order>(0).await?.result().await?, "lamp for 0 in attempt 3");
    assert_eq!(env.start::<order>(50).await?.result().await?, "lamp for 50 in attempt 1");
    let calls = env.calls_of(Shop::CHARGE);
    assert_eq!(calls.len(), 4);
    assert_eq!(calls[3].input, ("lamp".to_owned(), 50));
    Ok(())
}

#[tokio::test]
async fn failure_of_a_function_is_compensated_and_reaches_the_client_with_its_type() -> Result<(), Error> {
    let env = shop().build();
    let error = env.start::<order>(900).await?.result().await.unwrap_err();
    assert_eq!(error.typed(), Some(OrderError::Rejected { why: "no money".to_owned() }));
    assert_eq!(error.failure().unwrap().type_name, "rejected");
    assert_eq!(env.calls_of(Shop::RELEASE).iter().map(|call| call.input).collect::<Vec<_>>(), [(4,)]);
    Ok(())
}

#[tokio::test]
async fn mock_of_a_definition_replaces_the_method() -> Result<(), Error> {
    let env = shop()
        .mock_fn(Shop::RESERVE, |(article,)| Ok(article.len() as u32 * 10))
        .mock_fn(Shop::CHARGE, |(article, cents)| match cents {
            7 => Err(ChargeError::Declined(article)),
            _ => Ok(format!("{article} is free")),
        })
        .build();
    assert_eq!(env.start::<order>(900).await?.result().await?, "lamp is free");
    let error = env.start::<order>(7).await?.result().await.unwrap_err();
    assert_eq!(error.typed(), Some(OrderError::Rejected { why: "lamp".to_owned() }));
    assert_eq!(env.calls_of(Shop::RELEASE)[0].input, (40,));
    Ok(())
}

#[tokio::test]
async fn mock_of_a_definition_may_take_time_and_depend_on_the_attempt() -> Result<(), Error> {
    let env = shop()
        .mock_fn_with(Shop::CHARGE, |ctx, (article, _)| async move {
            ctx.sleep(Duration::from_secs(15)).await;
            if ctx.attempt() == 1 { Err(ChargeError::Busy) } else { Ok(article) }
        })
        .build();
    assert_eq!(env.start::<order>(1).await?.result().await?, "lamp");
    assert!(env.elapsed() >= Duration::from_secs(30));
    Ok(())
}

#[tokio::test]
async fn timeout_of_a_call_with_typed_failures_is_a_timeout() -> Result<(), Error> {
    #[workflow(name = "impatient")]
    async fn impatient(ctx: Context) -> WorkflowResult<bool> {
        match ctx.call(Shop::CHARGE, ("lamp".to_owned(), 1)).timeout(Duration::from_secs(5)).await {
            Err(CallError::Other(error)) => Ok(error.is_timeout()),
            charged => Ok(charged?.is_empty()),
        }
    }

    let env = TestEnv::builder()
        .workflow::<impatient>()
        .mock_fn_with(Shop::CHARGE, |ctx, _| async move {
            ctx.sleep(Duration::from_secs(10)).await;
            Ok(String::new())
        })
        .build();
    assert!(env.start::<impatient>(()).await?.result().await?);
    Ok(())
}

#[tokio::test]
async fn calls_with_typed_failures_are_joined() -> Result<(), Error> {
    #[workflow(name = "bulk")]
    async fn bulk(ctx: Context, cents: Vec<u64>) -> WorkflowResult<Vec<String>> {
        ctx.when_all(
            cents.into_iter().map(|cents| ctx.call(Shop::CHARGE, ("lamp".to_owned(), cents)).untyped()),
        )
        .await
    }

    let env = shop().workflow::<bulk>().build();
    assert_eq!(env.start::<bulk>(vec![1, 2]).await?.result().await?.len(), 2);
    let error = env.start::<bulk>(vec![1, 900]).await?.result().await.unwrap_err();
    assert_eq!(error.typed(), Some(ChargeError::Declined("no money".to_owned())));
    Ok(())
}

#[test]
fn two_values_of_one_type_are_refused_with_the_name_that_they_share() {
    let error =
        TestEnv::builder().activities(Shop).activities(std::sync::Arc::new(Shop)).try_build().unwrap_err();
    assert!(error.is_invalid(), "{error}");
    assert!(error.to_string().contains("two activity definitions are named `shop.reserve`"), "{error}");
}

#[test]
fn definition_has_the_stored_name_and_none_of_the_methods() {
    const AGAIN: ActivityDef<(String,), u32> = Shop::RESERVE;
    assert_eq!(
        [AGAIN.name(), Shop::RELEASE.name(), Shop::CHARGE.name()],
        ["shop.reserve", "shop.release", "shop.charge"]
    );
    assert_eq!(order::NAME, "order");
}

async fn start(env: TestEnv, cents: u64) -> Result<TestRun<order>, Error> {
    env.start::<order>(cents).await
}

#[tokio::test]
async fn crashes_make_no_difference_to_functions_and_methods() {
    for cents in [0, 50, 900] {
        let crashed = crash_everywhere(&shop(), async move |env| start(env, cents).await).assert().await;
        assert!(crashed.crash_points >= 3 * 3, "{crashed}");
        assert!(crashed.repeats.keys().any(|activity| activity == "shop.charge"), "{crashed}");
    }
}

async fn start_and_cancel(env: TestEnv) -> Result<TestRun<order>, Error> {
    let run = start(env, 50).await?;
    run.cancel().await?;
    Ok(run)
}

/// The reservation is released unless the order ended with a receipt, or was cancelled before there was one.
async fn is_released_unless_charged(run: TestRun<order>) -> Result<(), Error> {
    let result = run.result().await;
    let released = run.env().calls_of(Shop::RELEASE).len();
    match result {
        Ok(receipt) => assert!(receipt.starts_with("lamp") && released == 0, "{receipt} {released}"),
        Err(error) => assert!(error.is_run_cancelled() || error.is_run_failed(), "{error}"),
    }
    Ok(())
}

#[tokio::test]
async fn functions_and_methods_keep_their_promises_in_every_order_of_arrivals() {
    let explored = explore(&shop(), start_and_cancel, is_released_unless_charged).assert().await;
    assert!(explored.exhaustive && explored.orders > 3, "{explored}");
}

/// A crate that does not depend on the facade gives the path of the engine.
mod within_another_crate {
    use pgworkflows_core::activity::ActivityResult;
    use pgworkflows_core::workflow::{CallError, WorkflowResult};
    use pgworkflows_macros::{Failure, activities, workflow};

    #[derive(Debug, PartialEq, Failure)]
    #[failure(crate = pgworkflows_core)]
    pub(super) enum Refusal {
        #[failure("too-late", "{hours} hours late")]
        TooLate { hours: u32, reason: Option<String> },
    }

    pub(super) struct Clerk;

    #[activities(crate = pgworkflows_core)]
    impl Clerk {
        #[activity(name = "clerk.accept", queue = "default")]
        async fn accept(&self, hours: u32) -> Result<(), Refusal> {
            if hours > 1 { Err(Refusal::TooLate { hours, reason: None }) } else { Ok(()) }
        }

        #[activity(name = "clerk.rest")]
        async fn rest(&self) -> ActivityResult<()> {
            Ok(())
        }
    }

    #[workflow(name = "visit", crate = pgworkflows_core)]
    pub(super) async fn visit(ctx: pgworkflows_core::Context, hours: u32) -> WorkflowResult<String> {
        ctx.call(Clerk::REST, ()).await?;
        match ctx.call(Clerk::ACCEPT, hours).await {
            Err(CallError::Failed(Refusal::TooLate { hours, reason: None })) => {
                Ok(format!("{hours} hours late"))
            }
            accepted => Ok(accepted.map(|()| "accepted".to_owned())?),
        }
    }
}

#[tokio::test]
async fn macros_work_with_another_path_of_the_library() -> Result<(), Error> {
    use within_another_crate::{Clerk, visit};

    let env = TestEnv::builder().workflow::<visit>().activities(Clerk).build();
    assert_eq!(env.start::<visit>(1).await?.result().await?, "accepted");
    assert_eq!(env.start::<visit>(5).await?.result().await?, "5 hours late");
    Ok(())
}
