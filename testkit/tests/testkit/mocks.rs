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
