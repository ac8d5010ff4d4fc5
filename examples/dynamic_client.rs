//! A client without types: a gateway or a tool starts, finds, signals, asks and reads runs by name and in JSON.
//!
//! `cargo run --example dynamic_client`

#![expect(clippy::print_stdout, reason = "this program shows what happens")]

use pgworkflows::client::{Json, RunInfo, Untyped};
use pgworkflows::prelude::*;
use pgworkflows::serde_json::{self, json};
use pgworkflows::{Error, RunHandle};

/// The workflow of another program: the client below does not know these types.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    customer: String,
    cents: u32,
}

const APPROVED: Signal<u32> = Signal::new("approved-percent");
const RAISE: Update<u32, u32> = Update::new("raise");
const CENTS: View<u32> = View::new("cents");

#[workflow(name = "claim")]
async fn claim(ctx: Context, mut claim: Claim) -> WorkflowResult<Claim> {
    let (more, answer) = ctx.wait_for_update(RAISE).await?;
    claim.cents += more;
    answer.send(claim.cents);
    ctx.publish(CENTS, &claim.cents);
    let percent = ctx.wait_for(APPROVED).await?;
    Ok(Claim { cents: claim.cents * percent / 100, ..claim })
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let store = pgworkflows::connect("memory:").await?;
    let worker = Worker::builder(store.clone()).workflow::<claim>().build()?;
    let client = Client::new(store);
    worker.run_while(show(&client)).await?
}

async fn show(client: &Client) -> Result<(), Error> {
    let input = json!({ "customer": "Ada", "cents": 4_900 });
    client.start_named("claim", input).key("claim:7").await?;

    // Another process knows the key.
    let Some(run) = client.find_named("claim", "claim:7").await? else { return Ok(()) };
    let raised = run.update_named("raise", json!(100)).key("raise:1").await?;
    println!("it is a claim of {} cents now", json!(raised));
    let info = until_it_waits(&run).await?;
    println!("it shows {} and waits for {}", json!(run.view_named("cents").await?), json!(info.waits));
    run.signal_named("approved-percent", json!(50)).await?;
    let result: serde_json::Value = run.as_type::<Json>().result().await?;
    println!("the result is {result}");

    // JSON that does not fit is accepted, since only workers know the type. The run stalls, loses nothing, and says why.
    let misfit = client.start_named("claim", json!({ "customer": "Eve", "cents": "many" })).await?;
    println!("{}", until_it_waits(&misfit).await?.waiting_on.unwrap_or_default());
    misfit.terminate("its input has no meaning").await
}

/// Looks at the run until a worker has taken it as far as it gets.
async fn until_it_waits(run: &RunHandle<Untyped>) -> Result<RunInfo, Error> {
    loop {
        let info = run.describe().await?;
        if info.waiting_on.is_some() {
            return Ok(info);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
