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
const RUNS: u32 = 100;
const ENVIRONMENTS: u32 = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    one_activity().await?;
    new_environments().await?;
    ten_thousand_sleep().await
}

fn builder() -> TestEnvBuilder {
    TestEnv::builder().workflow::<OneActivity>().workflow::<Sleeps>().mock::<Double>(|number| Ok(2 * number))
}

async fn one_activity() -> Result<(), Error> {
    let env = builder().build();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for number in 0..RUNS {
            let run = env.start::<OneActivity>(number.into()).await?;
            black_box(run.result().await?);
        }
        rounds.push(began.elapsed() / RUNS);
    }
    print("start to result of a run with one activity", rounds);
    Ok(())
}

async fn new_environments() -> Result<(), Error> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for number in 0..ENVIRONMENTS {
            let run = builder().build().start::<OneActivity>(number.into()).await?;
            black_box(run.result().await?);
        }
        rounds.push(began.elapsed() / ENVIRONMENTS);
    }
    print("the same in a new environment each", rounds);
    Ok(())
}

fn print(what: &str, mut rounds: Vec<Duration>) {
    rounds.sort_unstable();
    println!("{what}: {:?} (median), {:?} (best)", rounds[ROUNDS / 2], rounds[0]);
}

async fn ten_thousand_sleep() -> Result<(), Error> {
    let env = builder().build();
    let began = Instant::now();
    let mut runs = Vec::new();
    for _ in 0..10_000 {
        runs.push(env.start::<Sleeps>(()).await?);
    }
    let started = began.elapsed();
    for ended in join_all(runs.iter().map(|run| run.result())).await {
        ended?;
    }
    println!(
        "10,000 runs that sleep eleven days: {:?}, of which {started:?} for the starts",
        began.elapsed()
    );
    Ok(())
}
