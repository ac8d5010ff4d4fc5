//! Failures and retries: failures with stored names, what is tried again, and what a workflow and a client make of the rest.
//!
//! `cargo run --example failures`

#![expect(clippy::print_stdout, reason = "this program shows what happens")]

use pgworkflows::prelude::*;

/// The names are stored: never change them. The variants may be renamed.
#[derive(Debug, PartialEq, Failure)]
enum ChargeError {
    /// Tried again, as the retry policy says.
    #[failure("bank-busy", "the bank is busy")]
    Busy,
    /// Not tried again.
    #[failure("over-limit", fatal, "{cents} cents are over the limit of {limit}")]
    OverLimit { cents: u64, limit: u64 },
    #[failure("card-declined", fatal, "declined: {0}")]
    Declined(String),
}

struct Bank;

#[activities]
impl Bank {
    #[activity(
        name = "bank.charge",
        retry = RetryPolicy::exponential().initial(Duration::from_millis(10)).max_attempts(5),
        start_to_close = Duration::from_secs(10)
    )]
    async fn charge(&self, ctx: &ActivityContext, cents: u64) -> Result<u32, ChargeError> {
        match cents {
            0..1_000 if ctx.attempt() < 3 => Err(ChargeError::Busy),
            0..1_000 => Ok(ctx.attempt()),
            1_000..10_000 => Err(ChargeError::OverLimit { cents, limit: 999 }),
            _ => Err(ChargeError::Declined("no money".to_owned())),
        }
    }
}

#[workflow(name = "payment")]
async fn payment(ctx: Context, cents: u64) -> WorkflowResult<String> {
    match ctx.call(Bank::CHARGE, cents).await {
        Ok(attempts) => Ok(format!("{cents} cents are paid, after {attempts} attempts")),
        // The workflow knows what to do about this one.
        Err(CallError::Failed(ChargeError::OverLimit { limit, .. })) => {
            Ok(format!("{limit} cents are paid, and {} by invoice", cents - limit))
        }
        // Everything else ends the run: a declined card, a timeout, a cancellation.
        Err(error) => Err(error.into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), pgworkflows::Error> {
    let store = pgworkflows::connect("memory:").await?;
    let worker = Worker::builder(store.clone()).workflow::<payment>().activities(Bank).build()?;
    let client = Client::new(store);
    worker.run_while(show(&client)).await?
}

async fn show(client: &Client) -> Result<(), pgworkflows::Error> {
    for cents in [500, 5_000, 50_000] {
        match client.start::<payment>(cents).await?.result().await {
            Ok(paid) => println!("{paid}"),
            // A client finds the type of the failure again, however many causes it is under.
            Err(error) => println!("{cents} cents: {:?}", error.typed::<ChargeError>()),
        }
    }
    Ok(())
}
