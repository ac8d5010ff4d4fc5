//! The speed of a `TestEnv`: how long a run with one activity takes from its start to its result, and how long a new
//! environment takes. `cargo run --release -p pgworkflows-testkit --example speed`
#![expect(clippy::print_stdout, reason = "it is a command")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures::future::join_all;
use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder};

struct Double;

#[async_trait]
impl Activity for Double {
    const NAME: &'static str = "double";
    type Input = u64;
    type Output = u64;

    async fn execute(&self, _: ActivityContext, number: u64) -> ActivityResult<u64> {
        Ok(2 * number)
    }
}

struct OneActivity;

impl Workflow for OneActivity {
    const NAME: &'static str = "one-activity";
    type Input = u64;
    type Output = u64;

    async fn run(ctx: Context, number: u64) -> WorkflowResult<u64> {
        ctx.activity::<Double>(number).await
    }
}

struct Sleeps;

impl Workflow for Sleeps {
    const NAME: &'static str = "sleeps";
    type Input = ();
    type Output = ();

    async fn run(ctx: Context, (): ()) -> WorkflowResult<()> {
        ctx.sleep(Duration::from_secs(11 * 24 * 3600)).await
    }
}

/// How many rounds are measured; the median and the best one are printed.
const ROUNDS: usize = 201;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = builder().build();
    let one_activity = async |env: &TestEnv| env.start::<OneActivity>(1).await?.result().await;
    measure("start to result of a run with one activity", 100, async || one_activity(&env).await).await?;
    measure("the same in a new environment each", 20, async || one_activity(&builder().build()).await)
        .await?;
    ten_thousand_sleep(&env).await
}

fn builder() -> TestEnvBuilder {
    TestEnv::builder().workflow::<OneActivity>().workflow::<Sleeps>().mock::<Double>(|number| Ok(2 * number))
}

async fn measure(what: &str, times: u32, once: impl AsyncFn() -> Result<u64, Error>) -> Result<(), Error> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..times {
            black_box(once().await?);
        }
        rounds.push(began.elapsed() / times);
    }
    rounds.sort_unstable();
    println!("{what}: {:?} (median), {:?} (best)", rounds[ROUNDS / 2], rounds[0]);
    Ok(())
}

async fn ten_thousand_sleep(env: &TestEnv) -> Result<(), Error> {
    let began = Instant::now();
    let mut runs = Vec::new();
    for _ in 0..10_000 {
        runs.push(env.start::<Sleeps>(()).await?);
    }
    let started = began.elapsed();
    for ended in join_all(runs.iter().map(|run| run.result())).await {
        ended?;
    }
    let took = began.elapsed();
    println!("10,000 runs that sleep eleven days: {took:?}, of which {started:?} for the starts");
    Ok(())
}
