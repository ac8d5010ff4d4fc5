//! Children: a run starts others, some at a time, and goes on when one of them fails.
//!
//! `cargo run --example children`

#![expect(clippy::print_stdout, reason = "this program shows what happens")]

use pgworkflows::client::Untyped;
use pgworkflows::prelude::*;
use pgworkflows::workflow::ChildPolicy;

/// Sends one parcel. It is a run of its own: with an id, a history, and a worker that may be another process.
#[workflow(name = "parcel")]
async fn parcel(ctx: Context, to: String) -> WorkflowResult<String> {
    ctx.sleep(Duration::from_millis(20)).await?;
    match to.as_str() {
        "Atlantis" => Err(WorkflowError::new("unknown-place", format!("where is {to}?"))),
        _ => Ok(format!("parcel to {to} is sent")),
    }
}

/// Tells the customers where their parcels are, until its parent is done.
#[workflow(name = "hotline")]
async fn hotline(ctx: Context) -> WorkflowResult<()> {
    ctx.sleep(Duration::from_secs(365 * 24 * 3600)).await
}

#[workflow(name = "mailing")]
async fn mailing(ctx: Context, places: Vec<String>) -> WorkflowResult<Vec<String>> {
    // Begun now, and not awaited. When this run ends, the child is asked to cancel itself.
    let _hotline = ctx.child::<hotline>(()).on_parent_end(ChildPolicy::Request).start();
    // Twenty at a time. `settle` waits for all of them, also after a failure.
    let send = |place: String| ctx.child::<parcel>(place);
    let sent = ctx.for_each(places, send).limit(20).settle().await?;
    Ok(sent.into_iter().map(|sent| sent.unwrap_or_else(|error| error.to_string())).collect())
}

#[tokio::main]
async fn main() -> Result<(), pgworkflows::Error> {
    let store = pgworkflows::connect("memory:").await?;
    let worker = Worker::builder(store.clone())
        .workflow::<mailing>()
        .workflow::<parcel>()
        .workflow::<hotline>()
        .build()?;
    let client = Client::new(store);
    worker.run_while(show(&client)).await?
}

async fn show(client: &Client) -> Result<(), pgworkflows::Error> {
    let places = ["Athens", "Atlantis", "Austin"].map(str::to_owned).to_vec();
    let mailing = client.start::<mailing>(places).await?;
    for line in mailing.result().await? {
        println!("{line}");
    }
    // Each child is in lists, and knows its parent.
    for child in client.list().parent(mailing.run_id()).await? {
        client.handle::<Untyped>(child.run_id).result().await.ok();
        println!("{} is {:?}", child.workflow, client.describe(child.run_id).await?.status);
    }
    Ok(())
}
