//! Races and timeouts: the first of several suppliers wins, and the others are given up.
//!
//! `cargo run --example races`

#![expect(clippy::print_stdout, reason = "this program shows what happens")]

use pgworkflows::prelude::*;
use pgworkflows::select;

struct Suppliers;

#[activities]
impl Suppliers {
    /// Ink answers at once, and everybody else in an hour.
    #[activity(name = "suppliers.quote")]
    async fn quote(&self, ctx: &ActivityContext, supplier: String) -> ActivityResult<u32> {
        let time = Duration::from_secs(if supplier == "Ink" { 0 } else { 3600 });
        tokio::select! {
            () = ctx.sleep(time) => Ok(70),
            () = ctx.cancellation().cancelled() => {
                println!("{supplier} learns that nobody waits any more");
                Err(ActivityError::new("given-up", "nobody waits any more"))
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    from: [String; 2],
    patience: Duration,
}

#[workflow(name = "purchase")]
async fn purchase(ctx: Context, wanted: Wanted) -> WorkflowResult<String> {
    let [one, other] = wanted.from.map(|supplier| ctx.call(Suppliers::QUOTE, supplier));
    // In a workflow, use this `select!` and no other: it polls its arms in the order in which they are written, so that a
    // replay goes the same way. The arms that lose are dropped, which cancels their activities.
    let first = ctx.branch(async {
        select! {
            cents = one => cents.map(|cents| format!("the first supplier asks for {cents}")),
            cents = other => cents.map(|cents| format!("the second supplier asks for {cents}")),
        }
    });
    match first.timeout(wanted.patience).await {
        Err(error) if error.is_timeout() => Ok("no supplier answers in time".to_owned()),
        first => first,
    }
}

#[tokio::main]
async fn main() -> Result<(), pgworkflows::Error> {
    let store = pgworkflows::connect("memory:").await?;
    let worker = Worker::builder(store.clone()).workflow::<purchase>().activities(Suppliers).build()?;
    let client = Client::new(store);
    worker.run_while(show(&client)).await?
}

async fn show(client: &Client) -> Result<(), pgworkflows::Error> {
    let (day, moment) = (Duration::from_secs(24 * 3600), Duration::from_millis(20));
    for (from, patience) in [(["Paper", "Ink"], day), (["Paper", "Stone"], moment)] {
        let wanted = Wanted { from: from.map(str::to_owned), patience };
        println!("{}", client.start::<purchase>(wanted).await?.result().await?);
    }
    Ok(())
}
