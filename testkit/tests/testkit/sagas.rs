//! Rounds of compensations, shields, scopes and pauses under `crash_everywhere` and `explore`.

use std::cell::RefCell;
use std::collections::BTreeSet;

use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere, explore};

activity!(Book, "book", u64 => u64);
activity!(Cancel, "cancel", u64 => u64);

const MINUTE: Duration = Duration::from_secs(60);

// Undoes one thing while it goes on, gives another one up, and is within a shield and a scope meanwhile.
workflow!(Trip, "trip", |ctx, (): ()| -> Vec<String> {
    let mut seen = Vec::new();
    let flight = ctx.on_failure::<Cancel>(1);
    ctx.on_failure::<Cancel>(2);
    seen.push(format!(
        "{:?}",
        ctx.shield(ctx.activity::<Book>(1)).await.map_err(|error| error.is_cancelled())
    ));
    let scope = ctx.scope(async {
        let slept = ctx.sleep(2 * MINUTE).await;
        ctx.activity::<Book>(2).await?;
        slept
    });
    seen.push(format!("{:?}", scope.deadline(MINUTE).await.map_err(|error| error.is_timeout())));
    let round = ctx.branch(async { Ok::<_, WorkflowError>(ctx.compensate().await.len()) });
    seen.push(format!("{:?}", round.timeout(MINUTE).await.map_err(|error| error.is_cancelled())));
    seen.push(format!("{}", flight.discard()));
    Ok(seen)
});

fn definition() -> TestEnvBuilder {
    TestEnv::builder().workflow::<Trip>().mock::<Book>(Ok).mock::<Cancel>(Ok)
}

#[tokio::test]
async fn sagas_scopes_and_pauses_go_on_after_a_crash_at_any_point() {
    let script = async |env: TestEnv| {
        let run = env.start::<Trip>(()).await?;
        run.pause().await?;
        env.advance(5 * MINUTE).await;
        run.resume().await?;
        assert_eq!(run.result().await?, ["Ok(1)", "Err(true)", "Ok(0)", "false"]);
        Ok::<_, Error>(run)
    };
    let crashed = crash_everywhere(&definition(), script).assert().await;
    assert!(crashed.crash_points >= 20, "{crashed}");
}

#[tokio::test]
async fn cancellation_meets_shields_and_rounds_in_every_order() {
    let results = RefCell::new(BTreeSet::new());
    let script = async |env: TestEnv| {
        let run = env.start::<Trip>(()).await?;
        run.cancel().await?;
        Ok(run)
    };
    let explored = explore(&definition(), script, async |run: TestRun<Trip>| {
        let result = run.result().await?.join(" ");
        results.borrow_mut().insert(result);
        Ok(())
    });
    let explored = explored.assert().await;
    assert!(explored.exhaustive, "{explored}");
    // What is shielded is done. The cancellation ends the scope before its deadline, or the wait for the round.
    let expected = [
        "Ok(1) Err(false) Err(false) false",
        "Ok(1) Err(false) Ok(0) false",
        "Ok(1) Err(true) Err(false) false",
        "Ok(1) Err(true) Err(true) false",
        "Ok(1) Err(true) Ok(0) false",
    ];
    assert_eq!(results.into_inner(), expected.map(str::to_owned).into());
}
