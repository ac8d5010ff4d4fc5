//! The workers: one owns the orders, the others execute the activities of their own queues. They must not know HTTP.

use pgworkflows::AnyStore;
use pgworkflows::prelude::*;

use crate::order::{PaymentError, order};
use crate::{AnyError, say};

/// The names of the workers.
pub(crate) const NAMES: [&str; 3] = ["orders", "payments", "email"];

/// How long a dead worker keeps what it was doing: short, because somebody is watching.
const LEASE_TTL: Duration = Duration::from_secs(2);

/// The activity queue of the workers that may talk to the bank.
const PAYMENTS: &str = "payments";

/// The activity queue of the workers that may send mail.
const EMAIL: &str = "email";

/// Serves what the worker of this name serves, until it is asked to end.
pub(crate) async fn work(
    store: AnyStore,
    name: &str,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AnyError> {
    let worker = Worker::builder(store).name(name).lease_ttl(LEASE_TTL);
    let worker = match name {
        "orders" => worker.workflow::<order>(),
        "payments" => {
            worker.activities(Payments { bank: Bank::from_environment()? }).activity_queue(PAYMENTS, 8)
        }
        "email" => worker.activities(Mail).activity_queue(EMAIL, 8),
        other => return Err(format!("there is no worker `{other}`, only {}", NAMES.join(", ")).into()),
    };
    worker.build()?.run_until(shutdown).await?;
    Ok(())
}

/// What moves money.
pub(crate) struct Payments {
    bank: Bank,
}

#[activities]
impl Payments {
    #[activity(
        name = "payments.charge",
        queue = PAYMENTS,
        retry = RetryPolicy::exponential().max_attempts(8),
        start_to_close = Duration::from_secs(60)
    )]
    pub(crate) async fn charge(
        &self,
        ctx: &ActivityContext,
        payment: String,
        card: String,
        cents: u64,
    ) -> Result<(), PaymentError> {
        // The bank deduplicates by the payment, so an attempt that is repeated charges nothing more.
        say(format!("payments asks the bank for {cents} cents, payment {payment}"));
        ctx.sleep(self.bank.patience).await;
        match card == "card-0002" {
            true => Err(PaymentError::Declined),
            false => Ok(()),
        }
    }

    /// A payment that the bank does not know needs no refund.
    #[activity(name = "payments.refund", queue = PAYMENTS, retry = RetryPolicy::exponential())]
    pub(crate) async fn refund(&self, payment: String) -> ActivityResult<()> {
        say(format!("payments refunds payment {payment}"));
        Ok(())
    }
}

/// Stands in for a bank: it takes its time, and declines the card `card-0002`.
struct Bank {
    patience: Duration,
}

impl Bank {
    /// The bank takes `BANK_SECONDS`, by default one.
    fn from_environment() -> Result<Self, AnyError> {
        let seconds = std::env::var("BANK_SECONDS").unwrap_or_else(|_| "1".to_owned());
        Ok(Self { patience: Duration::from_secs(seconds.parse()?) })
    }
}

/// What sends mail.
pub(crate) struct Mail;

#[activities]
impl Mail {
    #[activity(name = "mail.send", queue = EMAIL, retry = RetryPolicy::exponential())]
    pub(crate) async fn send(&self, to: String, text: String) -> ActivityResult<()> {
        say(format!("email    to {to}: {text}"));
        Ok(())
    }
}
