//! Mocks: their answers, and the record of their calls.

use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{Error, Mock, TestEnv};

use crate::definitions::{
    APPROVED, Charge, HOUR, Order, Reserve, approved_order, assert_stuck, order, orders,
};

#[tokio::test]
async fn calls_are_recorded_with_inputs_attempts_and_times() -> Result<(), Error> {
    let declined = ActivityError::new("card-declined", "no funds");
    let mock = Mock::<Charge>::fail_times(2, declined).then(|cents| Ok(format!("charged {cents}")));
    let env = orders().mock_with(mock).build();
    let run = order(&env).await?;
    env.advance(HOUR).await;
    run.signal(APPROVED, true).await?;
    assert_eq!(run.result().await?, "charged 4");

    let [reserved] = &env.activity_calls::<Reserve>()[..] else { panic!("one call") };
    assert_eq!((reserved.run, reserved.input.as_str(), reserved.attempt), (run.run_id(), "book", 1));
    let charged = env.activity_calls::<Charge>();
    let attempts: Vec<(u64, u32)> = charged.iter().map(|call| (call.input, call.attempt)).collect();
    assert_eq!(attempts, [(4, 1), (4, 2), (4, 3)]);
    assert_eq!(charged[0].at, reserved.at + HOUR);
    assert!(charged[2].at > charged[1].at && charged[1].at > charged[0].at);
    Ok(())
}

/// An activity that commits its outcome with its effects. Only some stores can execute a real one.
struct Pay;

#[async_trait]
impl Activity for Pay {
    const NAME: &'static str = "pay";
    type Input = u64;
    type Output = ();

    fn options() -> ActivityOptions {
        ActivityOptions::default().transactional().schedule_to_close(HOUR)
    }

    async fn execute(&self, _: ActivityContext, _: u64) -> ActivityResult<()> {
        panic!("no test executes the real activity")
    }
}

struct Payment;

impl Workflow for Payment {
    const NAME: &'static str = "payment";
    type Input = u64;
    type Output = ();

    async fn run(ctx: Context, cents: u64) -> WorkflowResult<()> {
        ctx.activity::<Pay>(cents).await
    }
}

#[tokio::test]
async fn transactional_activity_is_mocked_like_any_other() -> Result<(), Error> {
    let env = TestEnv::builder().workflow::<Payment>().mock::<Pay>(|_cents| Ok(())).build();
    env.start::<Payment>(500).await?.result().await?;
    assert_eq!(env.activity_calls::<Pay>()[0].input, 500);
    // One that takes too long fails in virtual time.
    let slow = Mock::<Pay>::new(|_cents| Ok(())).takes(2 * HOUR);
    let env = TestEnv::builder().workflow::<Payment>().mock_with(slow).build();
    let run = env.start::<Payment>(500).await?;
    env.advance(HOUR).await;
    assert!(run.result().await.unwrap_err().is_run_failed());
    run.assert_failed("timed-out");
    Ok(())
}

#[tokio::test]
async fn results_are_answered_one_attempt_after_another() -> Result<(), Error> {
    let results = [Ok(1), Err(ActivityError::new("out-of-stock", "none left"))];
    let env = orders().mock_with(Mock::<Reserve>::results(results)).build();
    let first = order(&env).await?;
    let second = env.start::<Order>("pen".to_owned()).await?;
    let third = env.start::<Order>("ink".to_owned()).await?;
    first.signal(APPROVED, true).await?;
    assert_eq!(first.result().await?, "charged 1");
    assert!(second.result().await.unwrap_err().is_run_failed());
    second.assert_failed("out-of-stock");
    // A mock without results left says so.
    let error = third.result().await.unwrap_err();
    assert!(error.to_string().contains("has 2 results, and this is its attempt 3"), "{error}");
    Ok(())
}

#[tokio::test]
async fn mock_is_executed_instead_of_the_real_activity() -> Result<(), Error> {
    let env = orders().activity(Reserve).build();
    let run = approved_order(&env).await?;
    assert_eq!(run.result().await?, "charged 4");
    Ok(())
}

#[tokio::test]
async fn mock_may_be_a_future_that_waits_for_virtual_time_and_for_its_cancellation() -> Result<(), Error> {
    let mock = Mock::<Reserve>::future(|ctx, item: String| async move {
        tokio::select! {
            () = ctx.sleep(HOUR) => Ok(item.len() as u64),
            () = ctx.cancellation().cancelled() => Err(ActivityError::new("cancelled", "never mind")),
        }
    });
    let env = orders().mock_with(mock).build();
    let run = order(&env).await?;
    env.advance(HOUR / 2).await;
    run.assert_waiting_on_activity::<Reserve>();
    env.advance(HOUR / 2).await;
    run.assert_waiting_on(APPROVED);
    Ok(())
}

#[test]
fn two_activities_of_one_name_are_an_error_that_names_it() {
    let builder = TestEnv::builder().activity(OtherInput).activity(OtherOutput);
    let error = builder.try_build().unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("`reserve`"), "{error}");
}

/// An activity with the name of [`Reserve`], and another input or output.
macro_rules! same_name {
    ($type:ident, $input:ty => $output:ty, $value:expr) => {
        struct $type;

        #[async_trait]
        impl Activity for $type {
            const NAME: &'static str = Reserve::NAME;
            type Input = $input;
            type Output = $output;

            async fn execute(&self, _: ActivityContext, _: $input) -> ActivityResult<$output> {
                Ok($value)
            }
        }
    };
}

same_name!(OtherInput, u64 => u64, 1);
same_name!(OtherOutput, String => String, "one".to_owned());

#[tokio::test]
async fn activity_of_the_same_name_with_another_type_is_reported_at_the_result() -> Result<(), Error> {
    let orders = || TestEnv::builder().workflow::<Order>();
    let run = order(&orders().activity(OtherInput).build()).await?;
    assert_stuck(&run, &["stalled", "the input of activity `reserve`", "are not a u64"]).await;
    let run = order(&orders().activity(OtherOutput).build()).await?;
    assert_stuck(&run, &["stalled", "activity `reserve`", "are not a u64"]).await;
    Ok(())
}
