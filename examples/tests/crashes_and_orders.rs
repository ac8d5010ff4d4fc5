//! The trial workflow under a crash at every point, and in every order in which outcomes, signals and a cancellation can
//! arrive.

use std::time::Duration;

use pgworkflows_examples::trial::{
    Onboarding, Signup, UPGRADE, UpgradeDecision, Workspace, trial_onboarding,
};
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere, explore};

fn definition() -> TestEnvBuilder {
    TestEnv::builder()
        .workflow::<trial_onboarding>()
        .mock_fn(Onboarding::PROVISION_WORKSPACE, |(company,)| Ok(Workspace { id: company }))
        .mock_fn(Onboarding::SEND_WELCOME, |_email| Ok(()))
        .mock_fn(Onboarding::REMIND, |_email| Ok(()))
        .mock_fn(Onboarding::SUBSCRIBE, |_workspace_and_plan| Ok(()))
}

async fn sign_up(env: &TestEnv) -> Result<TestRun<trial_onboarding>, Error> {
    let (company, email) = ("Acme".to_owned(), "ada@acme.example".to_owned());
    env.start::<trial_onboarding>(Signup { company, email, trial: Duration::from_secs(11 * 24 * 3600) })
        .key("Acme")
        .await
}

fn upgraded() -> UpgradeDecision {
    UpgradeDecision { upgraded: true, plan: "pro".to_owned() }
}

/// A customer who upgrades.
async fn upgrade(env: TestEnv) -> Result<TestRun<trial_onboarding>, Error> {
    let run = sign_up(&env).await?;
    run.signal(UPGRADE, upgraded()).await?;
    Ok(run)
}

/// A customer who upgrades while the trial is cancelled.
async fn upgrade_and_cancel(env: TestEnv) -> Result<TestRun<trial_onboarding>, Error> {
    let run = sign_up(&env).await?;
    let (signalled, cancelled) = tokio::join!(run.signal(UPGRADE, upgraded()), run.cancel());
    signalled.and(cancelled)?;
    Ok(run)
}

/// A customer who is told of an upgrade is billed. Billing may answer too late and be retried under the same idempotency
/// key; after five attempts the run fails.
async fn upgrade_is_billed(run: TestRun<trial_onboarding>) -> Result<(), Error> {
    let billed = run.env().calls_of(Onboarding::SUBSCRIBE).len();
    match run.result().await {
        Ok(result) => assert!(result == "Acme upgraded to pro." && (1..=5).contains(&billed), "{result}"),
        Err(error) if error.is_run_failed() => assert_eq!(billed, 5),
        Err(error) => assert!(error.is_run_cancelled(), "{error}"),
    }
    Ok(())
}

#[tokio::test]
async fn trial_ends_the_same_wherever_its_worker_crashes() {
    let crashed = crash_everywhere(&definition(), upgrade).assert().await;
    // The history has seven appends, with three crash points each.
    assert_eq!(crashed.crash_points, 7 * 3);
    assert_eq!(crashed.repeats["start-subscription"], 1);
}

#[tokio::test]
async fn upgrade_is_billed_in_every_order_of_arrivals() {
    let explored = explore(&definition(), upgrade_and_cancel, upgrade_is_billed).assert().await;
    // Without the cancellation there are 60 orders: two orders of the fan-out, five places for the signal, and six ways
    // for the billing to end. In addition, there are 118 moments at which the open run can be cancelled.
    assert_eq!((explored.orders, explored.exhaustive), (60 + 118, true));
}
