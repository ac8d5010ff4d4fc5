//! The code of README.md, compiled and executed. It must not contain code that the README shows differently.

use std::sync::Arc;

use pgworkflows::prelude::*;
use pgworkflows::sqlx::PgPool;
use pgworkflows_examples::trial::{
    Onboarding, Signup, UPGRADE, UpgradeDecision, Workspace, trial_onboarding,
};
use pgworkflows_pg_harness::Postgres;
use pgworkflows_testkit::TestEnv;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The README's worker.
async fn work(
    database_url: &str,
    onboarding: Onboarding,
    shutdown_signal: impl Future<Output = ()>,
) -> Result<()> {
    let store = pgworkflows::connect(database_url).await?; // Creates and migrates its own schema.
    let worker = Worker::builder(store).workflow::<trial_onboarding>().activities(onboarding).build()?;
    worker.run_until(shutdown_signal).await?;
    Ok(())
}

/// The README's client.
async fn request(database_url: &str, pool: &PgPool, signup: Signup) -> Result<String> {
    let client = Client::new(pgworkflows::connect(database_url).await?);
    let run = client.start::<trial_onboarding>(signup.clone()).key("signup:42").await?;
    run.signal(UPGRADE, UpgradeDecision { upgraded: true, plan: "pro".to_owned() }).await?;
    let outcome: String = run.result().await?;

    // Or inside your own sqlx transaction: your rows and the run commit together, or neither does.
    let mut transaction = pool.begin().await?;
    client.start::<trial_onboarding>(signup).key("signup:43").in_transaction(&mut transaction).await?;
    transaction.commit().await?;
    Ok(outcome)
}

fn signup(trial: Duration) -> Signup {
    Signup { company: "Acme".to_owned(), email: "ada@acme.example".to_owned(), trial }
}

#[tokio::test]
async fn worker_and_client_of_the_readme_complete_a_trial() -> Result<()> {
    // Given a database, and services that accept everything
    let database = Postgres::shared().create_database()?;
    let pool = PgPool::connect(database.url()).await?;
    let onboarding = Onboarding { services: Arc::new(|_activity, _what| {}) };
    // When the worker executes runs until the client is done
    let mut outcome = None;
    let client =
        async { outcome = Some(request(database.url(), &pool, signup(Duration::from_millis(1))).await) };
    work(database.url(), onboarding, client).await?;
    // Then the client has its result
    assert_eq!(outcome.expect("the worker ends after the client")?, "Acme upgraded to pro.");
    Ok(())
}

#[tokio::test]
async fn eleven_days_pass_in_a_moment() -> Result<()> {
    let trial = Duration::from_secs(11 * 24 * 3600);
    let env = TestEnv::builder()
        .workflow::<trial_onboarding>()
        .mock_fn(Onboarding::PROVISION_WORKSPACE, |(company,)| Ok(Workspace { id: company }))
        .mock_fn(Onboarding::SEND_WELCOME, |_email| Ok(()))
        .mock_fn(Onboarding::REMIND, |_email| Ok(()))
        .mock_fn(Onboarding::SUBSCRIBE, |_workspace_and_plan| Ok(()))
        .build();
    let run = env.start::<trial_onboarding>(signup(trial)).await?;
    env.advance(trial).await;
    run.assert_waiting_on(UPGRADE);
    run.signal(UPGRADE, UpgradeDecision { upgraded: true, plan: "pro".to_owned() }).await?;
    assert_eq!(run.result().await?, "Acme upgraded to pro.");
    Ok(())
}

#[test]
fn readme_shows_the_code_that_is_tested() {
    let sources = [include_str!("../trial.rs"), include_str!("readme.rs")].map(code_lines);
    let blocks = include_str!("../../README.md").split("```rust\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 5);
    for block in blocks {
        let shown = code_lines(block);
        let is_tested = |source: &Vec<&str>| source.windows(shown.len()).any(|lines| lines == shown);
        assert!(sources.iter().any(is_tested), "no example contains this code of README.md:\n{block}");
    }
}

/// The lines of a text without indentation and blank lines.
fn code_lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}
