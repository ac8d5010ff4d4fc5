//! A wait that can never end is an error that says why, and never a hang.

use std::sync::Arc;
use std::task::{Context as TaskContext, Wake, Waker};

use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{Error, Mock, TestEnv};

use crate::definitions::{
    APPROVED, DAY, Endless, HOUR, Order, Reserve, Sleeps, assert_says, assert_stuck, order, orders,
};

workflow!(Limited, "limited", |ctx, (): ()| -> u64 {
    ctx.activity::<Reserve>("book".to_owned()).start_to_close(HOUR).await
});

#[tokio::test]
async fn signal_that_nobody_sends_is_named_with_its_source_line_and_no_time_is_lost() -> Result<(), Error> {
    let env = orders().build();
    let run = order(&env).await?;
    assert_stuck(
        &run,
        &[&run.run_id().to_string(), "workflow `order`", "signal `approved` at", "definitions.rs:"],
    )
    .await;
    assert_eq!(env.elapsed(), Duration::ZERO);
    // The environment continues once the signal is sent.
    run.signal(APPROVED, true).await?;
    assert_eq!(run.result().await?, "charged 4");
    Ok(())
}

#[tokio::test]
async fn activity_that_is_neither_registered_nor_mocked_is_named() -> Result<(), Error> {
    let env = TestEnv::builder().workflow::<Order>().build();
    let run = order(&env).await?;
    assert_stuck(
        &run,
        &["activity `reserve` (a task", "definitions.rs:", "neither registered nor mocked", ".mock::<…>"],
    )
    .await;
    Ok(())
}

#[tokio::test]
async fn activity_queue_that_no_worker_serves_is_named() -> Result<(), Error> {
    workflow!(Queued, "queued", |ctx, (): ()| -> u64 {
        ctx.activity::<Reserve>("book".to_owned()).queue("stock").await
    });

    // Given an activity that is mocked, in an activity queue
    let env = || TestEnv::builder().workflow::<Queued>().mock::<Reserve>(|item| Ok(item.len() as u64));
    let run = env().build().start::<Queued>(()).await?;
    assert_stuck(
        &run,
        &["a task of activity queue `stock`", "no worker serves", ".activity_queue(\"stock\", 10)"],
    )
    .await;
    // When the worker serves the queue
    let env = env().worker(|worker| worker.activity_queue("stock", 10)).build();
    let run = env.start::<Queued>(()).await?;
    assert_eq!(run.result().await?, 4);
    assert_eq!(env.elapsed(), Duration::ZERO);
    Ok(())
}

#[tokio::test]
async fn unknown_activity_is_reported_before_a_timeout_hides_it() -> Result<(), Error> {
    workflow!(Impatient, "impatient", |ctx, (): ()| -> () {
        let _ = ctx.activity::<Reserve>("book".to_owned()).timeout(HOUR).await;
        Ok(())
    });

    let env = TestEnv::builder().workflow::<Impatient>().build();
    let run = env.start::<Impatient>(()).await?;
    assert_stuck(&run, &["activity `reserve` is neither registered nor mocked"]).await;
    assert_eq!(env.elapsed(), Duration::ZERO);
    Ok(())
}

#[tokio::test]
async fn activity_that_is_never_woken_is_named() -> Result<(), Error> {
    let env = orders().mock_with(Mock::<Reserve>::future(|_, _| std::future::pending())).build();
    let run = order(&env).await?;
    assert_stuck(&run, &["activity `reserve` at", "definitions.rs:"]).await;
    Ok(())
}

#[tokio::test]
async fn activity_that_is_never_woken_fails_at_its_time_limit() -> Result<(), Error> {
    let mock = Mock::<Reserve>::future(|_, _| std::future::pending());
    let env = TestEnv::builder().workflow::<Limited>().mock_with(mock).build();
    let run = env.start::<Limited>(()).await?;
    assert!(run.result().await.unwrap_err().is_run_failed());
    run.assert_failed("timed-out");
    assert_eq!(env.elapsed(), HOUR);
    Ok(())
}

#[tokio::test]
async fn endless_workflow_is_stopped_by_the_limit_of_its_history() -> Result<(), Error> {
    let env =
        TestEnv::builder().workflow::<Endless>().worker(|worker| worker.history_events(50, 100)).build();
    let run = env.start::<Endless>(()).await?;
    assert_stuck(&run, &["stalled", "the history has 100 events, and the limit is 100"]).await;
    Ok(())
}

#[tokio::test]
async fn start_of_a_workflow_that_is_not_registered_is_refused() {
    let env = TestEnv::builder().workflow::<Sleeps>().build();
    let error = env.start::<Order>("book".to_owned()).await.unwrap_err();
    assert!(error.is_invalid());
    assert_says(&error, &["workflow `order` is not registered"]);
}

#[tokio::test]
async fn future_that_is_driven_and_never_ready_is_an_error() {
    let env = orders().build();
    let error = env.drive(std::future::pending::<()>()).await.unwrap_err();
    assert!(error.is_stuck());
    assert_says(&error, &["no run is open"]);
}

#[tokio::test]
async fn condition_that_never_holds_is_an_error() -> Result<(), Error> {
    let env = orders().build();
    order(&env).await?;
    let error = env.advance_until_true(|| false).await.unwrap_err();
    assert_says(&error, &["the condition does not hold", "signal `approved` at"]);
    Ok(())
}

#[tokio::test]
async fn activity_that_polls_forever_is_named() -> Result<(), Error> {
    let mock = Mock::<Reserve>::future(|ctx, _| async move {
        loop {
            ctx.sleep(Duration::from_secs(1)).await;
        }
    });
    let env = orders().mock_with(mock).build();
    let run = order(&env).await?;
    assert_stuck(&run, &["continues without a result", "activity `reserve` at"]).await;
    Ok(())
}

#[tokio::test]
async fn step_that_is_retried_forever_is_named() -> Result<(), Error> {
    workflow!(Tries, "tries", |ctx, (): ()| -> () {
        let never = || async { Err(ActivityError::new("no", "not yet")) };
        ctx.step("try", never).retry(RetryPolicy::exponential()).await
    });

    let env = TestEnv::builder().workflow::<Tries>().build();
    let run = env.start::<Tries>(()).await?;
    assert_stuck(&run, &["continues without a result", "step `try` at"]).await;
    Ok(())
}

// Waits for an approval, with a timeout that is not in the log.
workflow!(Hasty, "hasty", |ctx, (): ()| -> bool {
    ctx.sleep(HOUR).await?;
    match tokio::time::timeout(HOUR, ctx.wait_for(APPROVED)).await {
        Ok(approved) => approved,
        Err(_) => Ok(false),
    }
});

async fn assert_hasty_is_reported() -> Result<(), Error> {
    let env = TestEnv::builder().workflow::<Hasty>().build();
    let run = env.start::<Hasty>(()).await?;
    assert_stuck(
        &run,
        &[
            "stalled: workflow `hasty` uses a tokio timer (at testkit/tests/testkit/stuck.rs:",
            ", after its durable call at testkit/tests/testkit/stuck.rs:",
            "use `ctx.sleep`, or `.timeout(…)` on a durable call",
        ],
    )
    .await;
    // It is noticed where the timer is made, not where it would have fired.
    assert_eq!(env.elapsed(), HOUR);
    Ok(())
}

#[tokio::test]
async fn timer_of_tokio_beside_a_signal_is_named_with_its_line() -> Result<(), Error> {
    assert_hasty_is_reported().await?;
    // The test itself still has a runtime with timers.
    tokio::time::timeout(HOUR, async {}).await.expect("it is ready");
    Ok(())
}

#[test]
fn timer_of_tokio_is_named_outside_of_tokio_as_well() -> Result<(), Error> {
    futures::executor::block_on(assert_hasty_is_reported())
}

#[tokio::test]
async fn task_that_a_workflow_spawns_is_an_error() -> Result<(), Error> {
    workflow!(Spawns, "spawns", |ctx, (): ()| -> bool {
        tokio::spawn(async { panic!("it is never executed") });
        ctx.wait_for(APPROVED).await
    });

    let env = TestEnv::builder().workflow::<Spawns>().build();
    let run = env.start::<Spawns>(()).await?;
    // The signal is queued, because the workflow could not begin.
    run.signal(APPROVED, true).await?;
    assert_stuck(
        &run,
        &["workflow `spawns` spawns a tokio task (after its durable call at", "`ctx.when_all`"],
    )
    .await;
    Ok(())
}

#[tokio::test]
async fn attempt_that_panics_when_it_is_dropped_or_woken_harms_nothing_else() -> Result<(), Error> {
    /// Panics when it is dropped.
    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("while it was dropped");
        }
    }

    struct PanicsOnWake;

    impl Wake for PanicsOnWake {
        fn wake(self: Arc<Self>) {
            panic!("somebody was woken");
        }
    }

    // Given an activity that waits forever, whose waker panics at its cancellation, and which panics when it is dropped
    let mock = Mock::<Reserve>::future(|ctx, _| async move {
        let _held = PanicsOnDrop;
        let mut given_up = Box::pin(ctx.cancellation().cancelled());
        let waker = Waker::from(Arc::new(PanicsOnWake));
        assert!(given_up.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_pending());
        std::future::pending().await
    });
    let env = TestEnv::builder().workflow::<Limited>().workflow::<Sleeps>().mock_with(mock).build();
    // When its time is over, the run continues
    let run = env.start::<Limited>(()).await?;
    assert!(run.result().await.unwrap_err().is_run_failed());
    run.assert_failed("timed-out");
    // And when it is dropped after its grace, so does the environment
    env.advance(HOUR).await;
    let sleeps = env.start::<Sleeps>(DAY).await?;
    sleeps.result().await?;
    Ok(())
}
