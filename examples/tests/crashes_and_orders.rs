//! The main job under everything that can happen to it: a crash at every point, and every order in which its world
//! can answer. One line each.

use std::time::Duration;

use pgworkflows_examples::trial::{
    ProvisionWorkspace, SendTrialEndingReminder, SendWelcome, Signup, StartSubscription, TrialOnboarding,
    UPGRADE, UpgradeDecision, Workspace,
};
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere, explore};

fn definition() -> TestEnvBuilder {
    TestEnv::builder()
        .workflow::<TrialOnboarding>()
        .mock::<ProvisionWorkspace>(|company| Ok(Workspace { id: company }))
        .mock::<SendWelcome>(|_email| Ok(()))
        .mock::<SendTrialEndingReminder>(|_email| Ok(()))
        .mock::<StartSubscription>(|_workspace_and_plan| Ok(()))
}

async fn sign_up(env: &TestEnv) -> Result<TestRun<TrialOnboarding>, Error> {
    let (company, email) = ("Acme".to_owned(), "ada@acme.example".to_owned());
    env.start(Signup { company, email, trial: Duration::from_secs(11 * 24 * 3600) }).key("Acme").await
}

fn upgraded() -> UpgradeDecision {
    UpgradeDecision { upgraded: true, plan: "pro".to_owned() }
}

/// A customer who upgrades.
async fn upgrade(env: TestEnv) -> Result<TestRun<TrialOnboarding>, Error> {
    let run = sign_up(&env).await?;
    run.signal(UPGRADE, upgraded()).await?;
    Ok(run)
}

/// A customer who upgrades, and whose trial somebody cancels at the same time.
async fn upgrade_and_cancel(env: TestEnv) -> Result<TestRun<TrialOnboarding>, Error> {
    let run = sign_up(&env).await?;
    let (signalled, cancelled) = tokio::join!(run.signal(UPGRADE, upgraded()), run.cancel());
    signalled.and(cancelled)?;
    Ok(run)
}

/// Whoever is told of an upgrade is billed. Billing may answer too late, so it may be asked again, under the same
/// idempotency key; after five times the run fails.
async fn upgrade_is_billed(run: TestRun<TrialOnboarding>) -> Result<(), Error> {
    let billed = run.env().activity_calls::<StartSubscription>().len();
    match run.result().await {
        Ok(result) => assert!(result == "Acme upgraded to pro." && (1..=5).contains(&billed), "{result}"),
        Err(error) if error.is_run_failed() => assert_eq!(billed, 5),
        Err(error) => assert!(error.is_run_cancelled(), "{error}"),
    }
    Ok(())
}

#[tokio::test]
async fn trial_that_crashes_anywhere_ends_as_if_it_had_not() {
    let crashed = crash_everywhere(&definition(), upgrade).assert().await;
    // Seven appends hold its history, and there are three moments at each to die.
    assert_eq!(crashed.crash_points, 7 * 3);
    assert_eq!(crashed.repeats["start-subscription"], 1);
}

#[tokio::test]
async fn upgrade_is_billed_in_whatever_order_things_come() {
    let explored = explore(&definition(), upgrade_and_cancel, upgrade_is_billed).assert().await;
    // Without the cancellation, 60: two orders of the fan-out, five places for the signal, six ends of the billing. And
    // 118 moments at which the run is open and can be cancelled.
    assert_eq!((explored.orders, explored.exhaustive), (60 + 118, true));
}
