//! Activities that ask for something themselves, and clients without types: crashes and orders make no difference to what they
//! ask for.

use pgworkflows_core::prelude::*;
use pgworkflows_core::{RunId, serde_json};
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere, explore};

use crate::definitions::HOUR;

/// The invoice that an activity started.
const INVOICED: Signal<RunId> = Signal::new("invoiced");

workflow!(Invoice, "invoice", |ctx, cents: u64| -> u64 {
    ctx.sleep(HOUR).await?;
    Ok(cents)
});

/// Starts a run, and tells its own run which one.
struct Close;

#[async_trait]
impl Activity for Close {
    const NAME: &'static str = "close";
    type Input = u64;
    type Output = ();

    async fn execute(&self, ctx: ActivityContext, cents: u64) -> ActivityResult<()> {
        let client = ctx.client();
        let invoice = client.start::<Invoice>(cents).await?;
        client.signal(ctx.run_id(), INVOICED, invoice.run_id()).await?;
        Ok(())
    }
}

// Returns how many signals it got.
workflow!(Month, "month", |ctx, cents: u64| -> u32 {
    ctx.activity::<Close>(cents).await?;
    let mut invoices = 0;
    while ctx.wait_for(INVOICED).timeout(2 * HOUR).await.is_ok() {
        invoices += 1;
    }
    Ok(invoices)
});

/// Starts a run, and returns its result, which takes an hour.
struct Collect;

#[async_trait]
impl Activity for Collect {
    const NAME: &'static str = "collect";
    type Input = u64;
    type Output = u64;

    async fn execute(&self, ctx: ActivityContext, cents: u64) -> ActivityResult<u64> {
        Ok(ctx.client().start::<Invoice>(cents).await?.result().await?)
    }
}

workflow!(Year, "year", |ctx, cents: u64| -> u64 { ctx.activity::<Collect>(cents).await });

#[tokio::test]
async fn time_passes_while_an_activity_waits_for_a_run_that_it_started() -> Result<(), Error> {
    let env = TestEnv::builder().workflow::<Year>().workflow::<Invoice>().activity(Collect).build();
    assert_eq!(env.start::<Year>(40).await?.result().await?, 40);
    assert_eq!(env.elapsed(), HOUR);
    Ok(())
}

fn definition() -> TestEnvBuilder {
    TestEnv::builder().workflow::<Month>().workflow::<Invoice>().activity(Close)
}

/// The run got one signal, and one run was started.
async fn check(env: &TestEnv, run: &TestRun<Month>) -> Result<(), Error> {
    assert_eq!(run.result().await?, 1);
    let invoices = env.drive(env.client().list().workflow("invoice")).await??;
    assert_eq!(invoices.len(), 1);
    Ok(())
}

#[tokio::test]
async fn crashes_repeat_nothing_that_an_activity_asks_for() {
    let script = async |env: TestEnv| {
        let run = env.start::<Month>(40).await?;
        check(&env, &run).await?;
        Ok::<_, Error>(run)
    };
    let crashed = crash_everywhere(&definition(), script).assert().await;
    assert!(crashed.repeats.contains_key("close"), "{crashed}");
}

#[tokio::test]
async fn what_an_activity_asks_for_happens_once_in_every_order() {
    let script = async |env: TestEnv| env.start::<Month>(40).await;
    explore(&definition(), script, async |run: TestRun<Month>| {
        let env = run.env().clone();
        check(&env, &run).await
    })
    .assert()
    .await;
}

#[tokio::test]
async fn crashes_make_no_difference_to_a_client_without_types() {
    let script = async |env: TestEnv| {
        let month = || env.client().start_named("month", serde_json::json!(40)).key("month:7");
        let run = env.drive(month()).await??;
        assert!(env.drive(month()).await??.is_existing());
        let run = env.run::<Month>(run.run_id());
        check(&env, &run).await?;
        Ok::<_, Error>(run)
    };
    crash_everywhere(&definition(), script).assert().await;
}
