//! A run that lives for years: it sleeps from due date to due date, and *continues as new* every twelve payments, so that its
//! history stays short.
//!
//! `cargo run --example subscription`

#![expect(clippy::print_stdout, reason = "this program shows what happens")]

use pgworkflows::chrono::{DateTime, Utc};
use pgworkflows::prelude::*;
use pgworkflows::select;

/// What a run hands to the next one.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    customer: String,
    period: Duration,
    due: Option<DateTime<Utc>>,
    payments: u32,
}

const CANCEL: Signal<()> = Signal::new("cancel");
const PAYMENTS: View<u32> = View::new("payments");

struct Billing;

#[activities]
impl Billing {
    #[activity(name = "billing.charge", retry = RetryPolicy::exponential())]
    async fn charge(&self, customer: String, payment: u32) -> ActivityResult<()> {
        println!("{customer} makes payment {payment}");
        Ok(())
    }
}

#[workflow(name = "subscription")]
async fn subscription(ctx: Context, mut plan: Plan) -> WorkflowResult<u32> {
    let mut cancelled = ctx.wait_for(CANCEL);
    for _month in 1..=12 {
        // Counted from the last due date, so that the payments do not drift.
        let due = plan.due.unwrap_or(ctx.now()) + plan.period;
        select! {
            over = ctx.sleep_until(due) => over?,
            cancelled = &mut cancelled => return cancelled.map(|()| plan.payments),
        }
        plan.payments += 1;
        ctx.call(Billing::CHARGE, (plan.customer.clone(), plan.payments)).await?;
        ctx.publish(PAYMENTS, &plan.payments);
        plan.due = Some(due);
    }
    // Another run goes on, with the same key. Signals reach it, whichever run of the chain they were sent to.
    ctx.continue_as_new::<subscription>(plan).await
}

#[tokio::main]
async fn main() -> Result<(), pgworkflows::Error> {
    let store = pgworkflows::connect("memory:").await?;
    let worker = Worker::builder(store.clone()).workflow::<subscription>().activities(Billing).build()?;
    let client = Client::new(store);
    worker.run_while(show(&client)).await?
}

async fn show(client: &Client) -> Result<(), pgworkflows::Error> {
    let period = Duration::from_millis(20); // A month, in the life of this program.
    let plan = Plan { customer: "Ada".to_owned(), period, due: None, payments: 0 };
    let run = client.start::<subscription>(plan).key("subscription:Ada").await?;
    let mut payments = run.watch(PAYMENTS);
    while payments.next().await.transpose()?.is_some_and(|payments| payments < 15) {}
    run.signal(CANCEL, ()).key("cancel").await?;
    let paid = run.result().await?;
    let number = run.describe().await?.chain.map_or(1, |chain| chain.number);
    println!("Ada cancelled after {paid} payments, in run {number} of the chain");
    Ok(())
}
