//! Signals and updates: an auction answers every bid at once, until the hammer falls.
//!
//! `cargo run --example signals_and_updates`

#![expect(clippy::print_stdout, reason = "this program shows what happens")]

use pgworkflows::prelude::*;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bid {
    by: String,
    cents: u64,
}

/// An update is a request to a run, with an answer: here, whether the bid leads. Its check refuses what can never be right,
/// before any run is told.
const BID: Update<Bid, bool> = Update::new("bid").check(|bid| match bid.cents {
    0 => Err("a bid of nothing".into()),
    _ => Ok(()),
});

/// A signal has no answer.
const HAMMER: Signal<()> = Signal::new("hammer");

#[workflow(name = "auction")]
async fn auction(ctx: Context, reserve: u64) -> WorkflowResult<Option<Bid>> {
    let best = Shared::new(None::<Bid>);
    let leading = best.clone();
    // The handler takes bids beside the main line, one at a time, in the order of their arrival.
    let bidding = ctx.serve(BID, async move |bid: Bid| {
        leading.with(|best| {
            let leads = bid.cents >= best.as_ref().map_or(reserve, |best| best.cents + 1);
            if leads {
                *best = Some(bid);
            }
            leads
        })
    });
    ctx.wait_for(HAMMER).timeout(Duration::from_secs(3600)).await?;
    bidding.drain().await?; // Bids that have arrived before are answered.
    Ok(best.with(Option::take))
}

#[tokio::main]
async fn main() -> Result<(), pgworkflows::Error> {
    let store = pgworkflows::connect("memory:").await?;
    let worker = Worker::builder(store.clone()).workflow::<auction>().build()?;
    let client = Client::new(store);
    worker.run_while(show(&client)).await?
}

async fn show(client: &Client) -> Result<(), pgworkflows::Error> {
    let auction = client.start::<auction>(1_000).await?;
    for (by, cents) in [("Ada", 900), ("Ada", 1_500), ("Grace", 1_200), ("Grace", 2_000)] {
        let leads = auction.update(BID, Bid { by: by.to_owned(), cents }).await?;
        println!("{by} bids {cents}, which {}", if leads { "leads" } else { "is not enough" });
    }
    // With its key, an update that is sent again is the same one: it gets the same answer.
    let bid = || auction.update(BID, Bid { by: "Ada".to_owned(), cents: 2_500 }).key("bid:5");
    assert_eq!((bid().await?, bid().await?), (true, true));
    let refused = auction.update(BID, Bid { by: "Eve".to_owned(), cents: 0 }).await;
    println!("Eve is told: {}", refused.map_or_else(|error| error.to_string(), |_| "yes".to_owned()));

    auction.signal(HAMMER, ()).await?;
    match auction.result().await? {
        Some(Bid { by, cents }) => println!("{by} gets it for {cents}"),
        None => println!("nobody gets it"),
    }
    Ok(())
}
