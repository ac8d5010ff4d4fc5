//! Updates: clients ask a run to add numbers, each with a key, several at once and again, and every answer is the sum so far.
//! The run continues as new meanwhile. A number is added once, and its answer stays the same.

use futures::future::{try_join, try_join_all};
use pgworkflows::prelude::*;
use serde_json::json;

use super::{Kind, Task};
use crate::journal::{Manner, Outcome};

pub(super) const KIND: Kind = Kind {
    name: Tally::NAME,
    about: "up to 12 updates with keys, some at once and again, to a chain of runs: each is taken and answered once",
    weight: 3,
    ends_alone: false,
    register: |worker, _, _| worker.workflow::<Tally>(),
    drive: |task| Box::pin(drive(task)),
};

/// Adds a number, and returns the sum.
const ADD: Update<u32, u64> = Update::new("add").check(|number| match number {
    0 => Err("nothing to add".into()),
    _ => Ok(()),
});

/// How many updates a run takes before it continues as new; a handler may take a few more.
const PER_RUN: u32 = 3;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sum {
    token: String,
    /// How many numbers are to be added.
    left: u32,
    sum: u64,
    /// Whether a handler takes them, and not the main line.
    is_served: bool,
}

impl Sum {
    fn add(&mut self, number: u32) -> u64 {
        self.left -= 1;
        self.sum += u64::from(number);
        self.sum
    }
}

struct Tally;

impl Workflow for Tally {
    const NAME: &'static str = "updates";
    type Input = Sum;
    type Output = u64;

    async fn run(ctx: Context, sum: Sum) -> WorkflowResult<u64> {
        let enough = sum.left.saturating_sub(PER_RUN);
        let (is_served, sum) = (sum.is_served, Shared::new(sum));
        if is_served {
            let adds = sum.clone();
            let adding = ctx.serve(ADD, async move |number| adds.with(|sum| sum.add(number)));
            ctx.until(|| sum.with(|sum| sum.left <= enough)).await?;
            adding.drain().await?;
        } else {
            while sum.with(|sum| sum.left > enough) {
                let (number, answer) = ctx.wait_for_update(ADD).await?;
                answer.send(sum.with(|sum| sum.add(number)));
            }
        }
        let sum = sum.with(|sum| sum.clone());
        if sum.left > 0 {
            ctx.continue_as_new::<Self>(sum.clone()).await;
        }
        Ok(sum.sum)
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let count = dice.between(1, 12) as u32;
    let expected = Outcome::Completed { result: json!(count * (count + 1) / 2) };
    // As with signals, a run whose id is not known would get no updates.
    let input = Sum { token: token.clone(), left: count, sum: 0, is_served: dice.chance(500) };
    let Some(run) = hand.start::<Tally>(&token, input, Manner::Keyed, expected).await? else {
        return Ok(());
    };
    let mut next = 1;
    while next <= count {
        let last = count.min(next + dice.below(3) as u32);
        try_join_all((next..=last).map(|number| hand.update(&token, &run, ADD, number))).await?;
        next = last + 1;
    }
    // Two clients ask again at once, maybe after the end.
    let again = dice.between(1, count.into()) as u32;
    try_join(hand.update(&token, &run, ADD, again), hand.update(&token, &run, ADD, again)).await?;
    hand.tell(&token, &run).await
}
