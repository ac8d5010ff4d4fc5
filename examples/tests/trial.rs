//! Tests of the trial workflow: on the real engine, with mocked activities, in virtual time.

use pgworkflows::prelude::*;
use pgworkflows_examples::trial::{
    Onboarding, Signup, UPGRADE, UpgradeDecision, Workspace, trial_onboarding,
};
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun, expect};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An environment in which every activity succeeds at once.
fn environment() -> TestEnvBuilder {
    TestEnv::builder()
        .workflow::<trial_onboarding>()
        .mock_fn(Onboarding::PROVISION_WORKSPACE, |(company,)| Ok(Workspace { id: company.to_lowercase() }))
        .mock_fn(Onboarding::SEND_WELCOME, |_email| Ok(()))
        .mock_fn(Onboarding::REMIND, |_email| Ok(()))
        .mock_fn(Onboarding::DOWNGRADE, |_workspace| Ok(()))
        .mock_fn(Onboarding::SUBSCRIBE, |_workspace_and_plan| Ok(()))
}

async fn sign_up(env: &TestEnv) -> Result<TestRun<trial_onboarding>, Error> {
    let signup = Signup { company: "Acme".to_owned(), email: "ada@acme.example".to_owned(), trial: 11 * DAY };
    env.start::<trial_onboarding>(signup).key("Acme").await
}

fn to_pro() -> UpgradeDecision {
    UpgradeDecision { upgraded: true, plan: "pro".to_owned() }
}

#[tokio::test]
async fn eleven_days_pass_in_a_moment() -> Result<(), Error> {
    let env = environment().build();
    let run = sign_up(&env).await?;
    env.advance(11 * DAY).await;
    run.assert_waiting_on(UPGRADE);
    run.signal(UPGRADE, to_pro()).await?;
    assert_eq!(run.result().await?, "Acme upgraded to pro.");
    run.assert_history(expect![[r#"
         1  0s   run.started trial-onboarding {"company": "Acme", "email": "ada@acme.example", "trial": {"secs": 950400, "nanos": 0}} key "Acme"
         2  0s   activity.scheduled #1 provision-workspace ["Acme"]
         3  0s   activity.scheduled #2 send-welcome ["ada@acme.example"]
         4  0s   activity.completed #1 provision-workspace {"id": "acme"}
         5  0s   activity.completed #2 send-welcome
         6  0s   timer.started #3 until 11d
         7  11d  timer.fired #3
         8  11d  activity.scheduled #4 send-trial-ending-reminder ["ada@acme.example"]
         9  11d  activity.completed #4 send-trial-ending-reminder
        10  11d  signal.received upgrade {"upgraded": true, "plan": "pro"}
        11  11d  activity.scheduled #6 start-subscription ["acme", "pro"]
        12  11d  activity.completed #6 start-subscription
        13  11d  run.completed "Acme upgraded to pro."
    "#]]);
    Ok(())
}

#[tokio::test]
async fn workspace_and_welcome_are_provided_at_the_same_time() -> Result<(), Error> {
    // Given a workspace that takes an hour, and a welcome that takes two
    let hour = Duration::from_secs(3600);
    let env = environment()
        .mock_fn_with(Onboarding::PROVISION_WORKSPACE, move |ctx, (id,)| async move {
            ctx.sleep(hour).await;
            Ok(Workspace { id })
        })
        .mock_fn_with(Onboarding::SEND_WELCOME, move |ctx, _| async move {
            ctx.sleep(2 * hour).await;
            Ok(())
        })
        .build();
    let run = sign_up(&env).await?;

    // When two hours pass, and not three
    // Then the run sleeps
    env.advance(2 * hour).await;
    run.assert_sleeping();
    let (workspace, mail) =
        (env.calls_of(Onboarding::PROVISION_WORKSPACE), env.calls_of(Onboarding::SEND_WELCOME));
    assert_eq!((workspace.len(), mail.len(), workspace[0].at), (1, 1, mail[0].at));
    assert_eq!(mail[0].input.0, "ada@acme.example");
    Ok(())
}

#[tokio::test]
async fn customer_is_reminded_when_the_trial_is_over_and_not_before() -> Result<(), Error> {
    let env = environment().build();
    let run = sign_up(&env).await?;
    env.advance(11 * DAY - Duration::from_secs(1)).await;
    assert!(env.calls_of(Onboarding::REMIND).is_empty());
    env.advance(Duration::from_secs(1)).await;
    assert_eq!(env.calls_of(Onboarding::REMIND).len(), 1);
    run.assert_waiting_on(UPGRADE);
    Ok(())
}

#[tokio::test]
async fn early_decision_is_kept() -> Result<(), Error> {
    let env = environment().build();
    let run = sign_up(&env).await?;
    run.signal(UPGRADE, to_pro()).await?;
    assert_eq!(run.result().await?, "Acme upgraded to pro.");
    assert_eq!(env.elapsed(), 11 * DAY);
    Ok(())
}

#[tokio::test]
async fn customer_who_declines_stays_on_the_free_tier() -> Result<(), Error> {
    let env = environment().build();
    let run = sign_up(&env).await?;
    run.signal(UPGRADE, UpgradeDecision { upgraded: false, plan: String::new() }).await?;
    assert_eq!(run.result().await?, "Acme stayed on the free tier.");
    assert_eq!(env.calls_of(Onboarding::DOWNGRADE)[0].input.0, "acme");
    assert!(env.calls_of(Onboarding::SUBSCRIBE).is_empty());
    Ok(())
}

#[tokio::test]
async fn subscription_is_tried_five_times() -> Result<(), Error> {
    let down = || ActivityError::new("billing-down", "try again later");
    let fails =
        move |ctx: ActivityContext, _| async move { if ctx.attempt() < 5 { Err(down()) } else { Ok(()) } };
    let env = environment().mock_fn_with(Onboarding::SUBSCRIBE, fails).build();
    let run = sign_up(&env).await?;
    run.signal(UPGRADE, to_pro()).await?;
    assert_eq!(run.result().await?, "Acme upgraded to pro.");
    assert_eq!(env.calls_of(Onboarding::SUBSCRIBE).len(), 5);

    let env = environment().mock_fn(Onboarding::SUBSCRIBE, move |_| Err(down())).build();
    let run = sign_up(&env).await?;
    run.signal(UPGRADE, to_pro()).await?;
    assert!(run.result().await.unwrap_err().is_run_failed());
    run.assert_failed("billing-down");
    Ok(())
}

#[tokio::test]
async fn missing_decision_is_reported_as_stuck() -> Result<(), Error> {
    let env = environment().build();
    let run = sign_up(&env).await?;
    let error = run.result().await.unwrap_err();
    assert!(error.is_stuck());
    assert!(error.to_string().contains("signal `upgrade` at"), "{error}");
    Ok(())
}

#[tokio::test]
async fn trial_can_be_cancelled_while_it_sleeps() -> Result<(), Error> {
    let env = environment().build();
    let run = sign_up(&env).await?;
    env.advance(DAY).await;
    run.cancel().await?;
    run.assert_cancelled();
    Ok(())
}

#[tokio::test]
async fn history_of_today_can_be_replayed_tomorrow() -> Result<(), Error> {
    let env = environment().build();
    let run = sign_up(&env).await?;
    run.signal(UPGRADE, to_pro()).await?;
    run.result().await?;
    let file = serde_json::to_string(&run.history()).expect("a history is writable");
    let history = pgworkflows_testkit::parse_history(&file)?;
    assert!(pgworkflows_testkit::replay::<trial_onboarding>(&history)?.over);
    Ok(())
}
