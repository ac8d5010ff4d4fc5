//! An order: it is paid, shipped and confirmed by mail. It must not know HTTP, or which process does what.

use pgworkflows::prelude::*;

use crate::workers::{Mail, Payments};

/// How long the warehouse has.
const SHIPPING_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a customer orders.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    item: String,
    cents: u64,
    /// The bank's word for the card, never its number: what a run is given is stored.
    card: String,
    email: String,
    address: String,
}

/// What becomes of an order that succeeds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    payment: String,
    tracking: String,
    address: String,
}

/// What the customer sees while an order is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    Paying,
    Packing,
    Shipped,
}

/// The stage that an order is in.
pub(crate) const STAGE: View<Stage> = View::new("stage");

/// The warehouse has shipped the order, under this tracking number.
pub(crate) const SHIPPED: Signal<String> = Signal::new("shipped");

/// The customer has moved. The answer is the address that was replaced.
pub(crate) const MOVE: Update<String, String> = Update::new("move").check(|address| match address.trim() {
    "" => Err("the address is empty".into()),
    _ => Ok(()),
});

/// Why an order is not paid.
#[derive(Debug, PartialEq, Failure)]
pub(crate) enum PaymentError {
    #[failure("card-declined", fatal, "the card was declined")]
    Declined,
}

#[workflow(name = "order")]
pub(crate) async fn order(ctx: Context, order: Order) -> WorkflowResult<Receipt> {
    let address = Shared::new(order.address);
    let current = address.clone();
    let moving = ctx.serve(MOVE, async move |new| current.with(|address| std::mem::replace(address, new)));

    ctx.publish(STAGE, &Stage::Paying);
    let payment = ctx.uuid().to_string();
    // Registered first, so that a payment whose outcome is not known is refunded as well.
    let refund = ctx.compensate_with(Payments::REFUND, payment.clone());
    ctx.call(Payments::CHARGE, (payment.clone(), order.card, order.cents)).await?;

    ctx.publish(STAGE, &Stage::Packing);
    let tracking = ctx.wait_for(SHIPPED).timeout(SHIPPING_TIME).await?;

    // From here on, nothing is refunded, and the address stays.
    refund.discard();
    moving.drain().await?;
    ctx.publish(STAGE, &Stage::Shipped);
    let text = format!("{} is on its way: {tracking}", order.item);
    ctx.call(Mail::SEND, (order.email, text)).await?;
    Ok(Receipt { payment, tracking, address: address.with(|address| address.clone()) })
}
