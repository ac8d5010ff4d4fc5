//! Payments: money moves between two accounts in one transaction of an activity, which nothing makes idempotent but the
//! transaction itself. So a payment that is repeated or lost is seen in the tables.

use futures::future::{Either, select};
use pgworkflows::prelude::*;
use pgworkflows::sqlx::{self, PgTransaction};
use pgworkflows::{Transactional, TransactionalActivity};

use super::bank::{self, Transfer};
use super::{Kind, Task};
use crate::journal::Outcome;

pub(super) const KIND: Kind = Kind {
    name: Payment::NAME,
    about: "money moves in a transactional activity, some of which are given up: what the log says was paid",
    weight: 4,
    ends_alone: true,
    register: |worker, _, store| worker.workflow::<Payment>().activity(store.transactional(Pay)),
    drive: |task| Box::pin(drive(task)),
};

/// How long a transaction may take.
const OPEN_MAX: Duration = Duration::from_secs(3);

/// The longest time after which a run gives its payment up.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    token: String,
    transfer: Transfer,
    /// How long the transaction pauses between its statements.
    pause_millis: u64,
    patience: Patience,
}

/// When a run gives its payment up.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Patience {
    Never,
    /// When it has failed by then.
    Schedule {
        millis: u64,
    },
    /// When it has no outcome by then.
    Drop {
        millis: u64,
    },
}

struct Payment;

impl Workflow for Payment {
    const NAME: &'static str = "payment";
    type Input = Order;
    /// Whether it is known to be paid.
    type Output = bool;

    async fn run(ctx: Context, order: Order) -> WorkflowResult<bool> {
        let patience = order.patience.clone();
        let pay = ctx.activity::<Transactional<Pay>>(order).retry(bank::retry());
        match patience {
            Patience::Never => pay.await.map(|()| true),
            Patience::Schedule { millis } => {
                Ok(pay.schedule_to_close(Duration::from_millis(millis)).await.is_ok())
            }
            Patience::Drop { millis } => {
                match select(pay, ctx.sleep(Duration::from_millis(millis))).await {
                    Either::Left((paid, _)) => return Ok(paid.is_ok()),
                    Either::Right((slept, pay)) => {
                        drop(pay);
                        slept?;
                    }
                }
                // A payment that is committed at this moment is usually shown before the run is over.
                ctx.sleep(Duration::from_millis(300)).await?;
                Ok(false)
            }
        }
    }
}

/// Moves money, and notes that it did.
struct Pay;

#[async_trait]
impl TransactionalActivity for Pay {
    const NAME: &'static str = "pay";
    type Input = Order;
    type Output = ();

    fn options() -> ActivityOptions {
        ActivityOptions::default().start_to_close(OPEN_MAX)
    }

    async fn execute(
        &self,
        transaction: &mut PgTransaction<'_>,
        ctx: ActivityContext,
        order: Order,
    ) -> ActivityResult<()> {
        let Transfer { from, to, amount, .. } = order.transfer;
        for (account, amount) in [(from, -amount), (to, amount)] {
            sqlx::query("update chaos.accounts set balance = balance + $2 where account = $1")
                .bind(account)
                .bind(amount)
                .execute(&mut **transaction)
                .await?;
            ctx.sleep(Duration::from_millis(order.pause_millis)).await;
        }
        sqlx::query("insert into chaos.payments (token, source, target, amount) values ($1, $2, $3, $4)")
            .bind(order.token)
            .bind(from)
            .bind(to)
            .bind(amount)
            .execute(&mut **transaction)
            .await?;
        Ok(())
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let transfer = Transfer::draw(&mut dice, &token);
    let millis = dice.time(Duration::from_millis(1), PATIENCE_MAX).as_millis() as u64;
    let patience = match dice.below(4) {
        0 => Patience::Schedule { millis },
        1 => Patience::Drop { millis },
        _ => Patience::Never,
    };
    let order = Order { token: token.clone(), transfer, pause_millis: dice.below(20), patience };
    let manner = hand.any_manner(&mut dice);
    // The checks compare the log with the tables.
    match hand.start::<Payment>(&token, order, manner, Outcome::Open).await? {
        Some(run) => hand.tell(&token, &run).await,
        None => Ok(()),
    }
}
