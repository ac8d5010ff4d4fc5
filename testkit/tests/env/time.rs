//! Time: it jumps where nothing else happens, and stands still otherwise.

use futures::future::join_all;
use pgworkflows::prelude::*;
use pgworkflows_testkit::{Error, TestEnv};

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Sleeps;

impl Workflow for Sleeps {
    const NAME: &'static str = "sleeps";
    type Input = Duration;
    type Output = ();

    async fn run(ctx: Context, time: Duration) -> WorkflowResult<()> {
        ctx.sleep(time).await
    }
}

#[tokio::test]
async fn ten_years_take_a_moment_and_end_on_the_microsecond() -> Result<(), Error> {
    let env = TestEnv::builder().workflow::<Sleeps>().build();
    let run = env.start::<Sleeps>(3650 * DAY).await?;
    run.result().await?;
    assert_eq!(env.elapsed(), 3650 * DAY);
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
