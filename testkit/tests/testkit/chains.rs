//! Runs that continue as new, in the tools: crashes and orders make no difference to a chain, and handles follow it.

use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere, explore};

const GO: Signal<u64> = Signal::new("go");

/// How many runs a chain has.
const ROUNDS: u64 = 3;

// Adds up a step and a signal in each of its runs.
workflow!(Relay, "relay", |ctx, state: (u64, u64)| -> u64 {
    let (round, sum) = state;
    let drawn = ctx.step("draw", || async { Ok(10) }).await?;
    let sum = sum * 10 + drawn + ctx.wait_for(GO).await?;
    if round == ROUNDS {
        return Ok(sum);
    }
    ctx.continue_as_new::<Relay>((round + 1, sum)).await
});

// Fails at first, and is tried again after its compensation.
workflow!(Stubborn, "stubborn", |ctx, (): ()| -> u64 {
    let _ = ctx.on_failure::<Undo>(ctx.attempt());
    let attempt = u64::from(ctx.attempt());
    ctx.step("draw", || async { Ok(10) }).await?;
    if attempt < ROUNDS {
        return Err(WorkflowError::new("locked", "not yet"));
    }
    Ok(attempt)
});

activity!(Undo, "undo", u32 => ());

fn definition() -> TestEnvBuilder {
    TestEnv::builder().workflow::<Relay>().workflow::<Stubborn>().mock::<Undo>(|_attempt| Ok(()))
}

async fn relayed(env: TestEnv) -> Result<TestRun<Relay>, Error> {
    let run = env.start::<Relay>((1, 0)).await?;
    for number in 1..=ROUNDS {
        run.signal(GO, number).await?;
    }
    Ok(run)
}

/// 11, then 110 + 12, then 1,220 + 13.
const RELAYED: u64 = 1_233;

#[tokio::test]
async fn handle_of_a_test_follows_a_chain() {
    let run = relayed(definition().build()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), RELAYED);
}

#[tokio::test]
async fn crashes_make_no_difference_to_a_run_that_continues_as_new() {
    let crashed = crash_everywhere(&definition(), relayed).assert().await;
    assert!(crashed.crash_points > 3 * 4, "{crashed}");
}

#[tokio::test]
async fn crashes_make_no_difference_to_a_run_that_is_tried_again() {
    let script = async |env: TestEnv| {
        let policy =
            RetryPolicy::exponential().initial(Duration::from_secs(60)).delay_max(Duration::from_secs(60));
        let run = env.start::<Stubborn>(()).retry(policy).await?;
        env.advance(Duration::from_secs(600)).await;
        Ok(run)
    };
    let crashed = crash_everywhere(&definition(), script).assert().await;
    assert!(crashed.crash_points > 3 * 4, "{crashed}");
}

#[tokio::test]
async fn signals_are_taken_in_their_order_whenever_a_run_continues() {
    explore(&definition(), relayed, async |run: TestRun<Relay>| {
        assert_eq!(run.result().await?, RELAYED);
        Ok(())
    })
    .assert()
    .await;
}
