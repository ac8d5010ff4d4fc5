//! Compensation: a trip is booked step by step, and what is booked is cancelled if a later step fails – up to the point of no
//! return.
//!
//! `cargo run --example compensation`

#![expect(clippy::print_stdout, reason = "this program shows what happens")]

use pgworkflows::prelude::*;

struct Agency;

#[activities]
impl Agency {
    #[activity(name = "agency.book")]
    async fn book(&self, what: String) -> ActivityResult<()> {
        if what == "hotel in Atlantis" {
            return Err(ActivityError::fatal("unknown-place", format!("there is no {what}")));
        }
        println!("booked the {what}");
        Ok(())
    }

    #[activity(name = "agency.cancel", retry = RetryPolicy::exponential())]
    async fn cancel(&self, what: String) -> ActivityResult<()> {
        println!("cancelled the {what}");
        Ok(())
    }

    #[activity(name = "agency.print-tickets")]
    async fn print_tickets(&self, to: String) -> ActivityResult<()> {
        Err(ActivityError::new("no-paper", format!("the tickets to {to} are not printed")))
    }
}

#[workflow(name = "trip")]
async fn trip(ctx: Context, to: String) -> WorkflowResult<String> {
    let mut bookings = Vec::new();
    for what in [format!("flight to {to}"), format!("hotel in {to}")] {
        // Registered before the call, because a call that fails may have booked something all the same.
        bookings.push(ctx.compensate_with(Agency::CANCEL, what.clone()));
        ctx.call(Agency::BOOK, what).await?; // If this fails, all that is registered is executed, the last one first.
    }
    // The point of no return: from here on the trip stands, whatever happens.
    for booking in bookings {
        booking.discard();
    }
    match ctx.call(Agency::PRINT_TICKETS, to.clone()).await {
        Err(error) if !error.is_cancelled() => Ok(format!("the trip to {to} is booked, but {error}")),
        printed => printed.map(|()| format!("the trip to {to} is booked")),
    }
}

#[tokio::main]
async fn main() -> Result<(), pgworkflows::Error> {
    let store = pgworkflows::connect("memory:").await?;
    let worker = Worker::builder(store.clone()).workflow::<trip>().activities(Agency).build()?;
    let client = Client::new(store);
    worker.run_while(show(&client)).await?
}

async fn show(client: &Client) -> Result<(), pgworkflows::Error> {
    for to in ["Athens", "Atlantis"] {
        match client.start::<trip>(to.to_owned()).await?.result().await {
            Ok(booked) => println!("{booked}"),
            // `uncompensated` names the compensations that failed for good: somebody has to look at those.
            Err(error) => println!("no trip to {to}; {} bookings are left", error.uncompensated().len()),
        }
    }
    Ok(())
}
