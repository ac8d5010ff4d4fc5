//! Transfers: two activities that write to users' tables. All balances add up, and every transfer happens once.

use pgworkflows::prelude::*;
use serde_json::json;

use super::bank::{self, Move, Transfer};
use super::{Kind, Task};
use crate::journal::Outcome;

pub(super) const KIND: Kind = Kind {
    name: MoveBetween::NAME,
    about: "money moves between accounts: once, and no balance is off",
    weight: 4,
    ends_alone: true,
    register: |worker, users, _| bank::register(worker, users).workflow::<MoveBetween>(),
    drive: |task| Box::pin(drive(task)),
};

struct MoveBetween;

impl Workflow for MoveBetween {
    const NAME: &'static str = "transfer";
    type Input = Transfer;
    type Output = i64;

    async fn run(ctx: Context, transfer: Transfer) -> WorkflowResult<i64> {
        ctx.activity::<Move>(transfer.withdrawal()).retry(bank::retry()).await?;
        ctx.activity::<Move>(transfer.deposit()).retry(bank::retry()).await?;
        Ok(transfer.amount)
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let transfer = Transfer::draw(&mut dice, &token);
    let expected = Outcome::Completed { result: json!(transfer.amount) };
    let manner = hand.any_manner(&mut dice);
    match hand.start::<MoveBetween>(&token, transfer, manner, expected).await? {
        Some(run) => hand.tell(&token, &run).await,
        None => Ok(()),
    }
}
