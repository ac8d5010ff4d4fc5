//! Time: it jumps if nothing else happens, and stands still otherwise.

use std::cell::Cell;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use futures::join;
use pgworkflows_core::Timestamp;
use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{Error, Mock, TestEnv};

use crate::definitions::{
    APPROVED, Charge, DAY, HOUR, Reserve, Sleeps, approved_order, assert_says, order, orders,
};

#[tokio::test]
async fn ten_years_take_a_moment_and_end_on_the_microsecond() -> Result<(), Error> {
    let env = TestEnv::builder().workflow::<Sleeps>().build();
    let run = env.start::<Sleeps>(3650 * DAY).await?;
    run.result().await?;
    assert_eq!(env.elapsed(), 3650 * DAY);
    Ok(())
}

#[tokio::test]
async fn sleep_until_the_last_moment_of_the_calendar_ends_there() -> Result<(), Error> {
    workflow!(Patient, "patient", |ctx, (): ()| -> String {
        ctx.sleep_until(Timestamp::MAX_DEADLINE.into()).await?;
        Ok(ctx.now().to_rfc3339())
    });

    let env = TestEnv::builder().workflow::<Patient>().build();
    let run = env.start::<Patient>(()).await?;
    assert_eq!(run.result().await?, "9999-12-31T23:59:59+00:00");
    assert_eq!(env.now(), Timestamp::MAX_DEADLINE.into());
    Ok(())
}

#[tokio::test]
async fn attempt_that_takes_two_thousand_years_ends_after_them() -> Result<(), Error> {
    let years = 2_000 * 365 * DAY;
    let env = orders().mock_with(Mock::<Reserve>::new(|_| Ok(7)).takes(years)).build();
    let run = approved_order(&env).await?;
    assert_eq!(run.result().await?, "charged 7");
    assert_eq!(env.elapsed(), years);
    Ok(())
}

#[tokio::test]
async fn time_ends_with_the_calendar() -> Result<(), Error> {
    let env = TestEnv::builder().workflow::<Sleeps>().build();
    let error = env.advance_until(DateTime::<Utc>::MAX_UTC).await.unwrap_err();
    assert!(error.is_invalid());
    assert_says(&error, &["time ends at 9999-12-31 23:59:59 UTC", "+262142-12-31", "earlier"]);
    env.advance(Duration::MAX).await;
    assert_eq!(env.now(), Timestamp::MAX_DEADLINE.into());
    Ok(())
}

#[tokio::test]
async fn ten_thousand_runs_sleep_eleven_days_each() -> Result<(), Error> {
    let env = TestEnv::builder().workflow::<Sleeps>().build();
    let mut runs = Vec::new();
    for _ in 0..10_000 {
        runs.push(env.start::<Sleeps>(11 * DAY).await?);
    }
    let ended = join_all(runs.iter().map(|run| run.result())).await;
    assert!(ended.iter().all(Result::is_ok));
    assert_eq!(env.elapsed(), 11 * DAY);
    Ok(())
}

#[tokio::test]
async fn advance_stops_at_its_end() -> Result<(), Error> {
    let env = TestEnv::builder().workflow::<Sleeps>().build();
    let run = env.start::<Sleeps>(3 * DAY).await?;
    env.advance(3 * DAY - Duration::from_micros(1)).await;
    run.assert_sleeping();
    // What is due at the very end has happened when `advance` is done.
    env.advance(Duration::from_micros(1)).await;
    run.assert_completed(());
    Ok(())
}

#[tokio::test]
async fn advance_until_a_past_moment_is_an_error_that_names_both() -> Result<(), Error> {
    let env = orders().build();
    let began = env.now();
    env.advance_until(began + HOUR).await?;
    assert_eq!(env.elapsed(), HOUR);
    let error = env.advance_until(began).await.unwrap_err();
    assert!(error.is_invalid());
    assert_says(&error, &["cannot go back", "2026-01-01 01:00:00 UTC", "2026-01-01 00:00:00 UTC"]);
    assert_eq!(env.elapsed(), HOUR);
    Ok(())
}

#[tokio::test]
async fn advance_until_true_stops_as_soon_as_it_is() -> Result<(), Error> {
    let declined = ActivityError::new("card-declined", "no funds");
    let mock = Mock::<Charge>::fail_times(2, declined).then(|_| Ok("charged".to_owned()));
    let env = orders().mock_with(mock).build();
    approved_order(&env).await?;
    env.advance_until_true(|| env.activity_calls::<Charge>().len() == 2).await?;
    // At most a quarter of the delay is jitter.
    assert!((HOUR * 3 / 4..=HOUR).contains(&env.elapsed()), "{:?}", env.elapsed());
    Ok(())
}

#[tokio::test]
async fn future_that_is_awaited_with_a_result_acts_at_its_own_time() -> Result<(), Error> {
    let env = orders().build();
    let run = order(&env).await?;
    let approval = async {
        env.advance(2 * HOUR).await;
        run.signal(APPROVED, true).await
    };
    let (result, approved) = join!(run.result(), approval);
    approved?;
    assert_eq!(result?, "charged 4");
    assert_eq!(env.elapsed(), 2 * HOUR);
    Ok(())
}

#[tokio::test]
async fn activity_and_workflow_see_the_time_of_the_environment() -> Result<(), Error> {
    workflow!(Clock, "clock", |ctx, (): ()| -> [String; 2] {
        ctx.sleep(DAY).await?;
        let of_activity = ctx.activity::<Charge>(0).await?;
        Ok([ctx.now().to_rfc3339(), of_activity])
    });

    let mock = Mock::<Charge>::with_context(|ctx, _| Ok(ctx.now().to_rfc3339()));
    let env = TestEnv::builder().workflow::<Clock>().mock_with(mock).build();
    let run = env.start::<Clock>(()).await?;
    assert_eq!(run.result().await?, ["2026-01-02T00:00:00+00:00"; 2]);
    Ok(())
}

#[tokio::test]
async fn mock_that_takes_time_takes_no_real_time() -> Result<(), Error> {
    let env = orders().mock_with(Mock::<Reserve>::new(|_| Ok(7)).takes(5 * HOUR)).build();
    let run = approved_order(&env).await?;
    assert_eq!(run.result().await?, "charged 7");
    assert_eq!(env.elapsed(), 5 * HOUR);
    Ok(())
}

#[tokio::test]
async fn delayed_start_begins_at_its_time() -> Result<(), Error> {
    let env = TestEnv::builder().workflow::<Sleeps>().build();
    let run = env.start::<Sleeps>(HOUR).delay(DAY).key("later").await?;
    run.result().await?;
    assert_eq!(env.elapsed(), DAY + HOUR);
    assert_eq!(run.describe().await?.key.as_deref(), Some("later"));
    Ok(())
}

#[test]
fn environment_works_on_any_executor() -> Result<(), Error> {
    let began = Cell::new(false);
    futures::executor::block_on(async {
        let env = TestEnv::builder().workflow::<Sleeps>().build();
        began.set(true);
        env.start::<Sleeps>(DAY).await?.result().await
    })?;
    assert!(began.get());
    Ok(())
}

#[tokio::test]
async fn task_budget_of_the_surrounding_runtime_does_not_stop_the_world() -> Result<(), Error> {
    // Given enough runs at one moment for their channels to use up the budget of a tokio task
    let env = orders().build();
    let mut runs = Vec::new();
    for _ in 0..500 {
        let run = order(&env).await?;
        run.signal(APPROVED, true).await?;
        runs.push(run);
    }
    for run in runs {
        run.result().await?;
    }
    assert_eq!(env.elapsed(), Duration::ZERO);
    Ok(())
}

#[tokio::test]
async fn late_deadline_of_a_run_with_an_executing_activity_is_met() -> Result<(), Error> {
    workflow!(Bounded, "bounded", |ctx, (): ()| -> bool {
        let reserved = ctx.activity::<Reserve>("book".to_owned()).timeout(365 * DAY).await;
        Ok(reserved.is_ok())
    });

    let mock = Mock::<Reserve>::future(|_, _| std::future::pending());
    let env = TestEnv::builder().workflow::<Bounded>().mock_with(mock).build();
    assert!(!env.start::<Bounded>(()).await?.result().await?);
    assert_eq!(env.elapsed(), 365 * DAY);
    Ok(())
}
