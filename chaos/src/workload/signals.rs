//! Signals: a client sends numbers one after the other, some of them in transactions, and the run returns them. None is
//! missing, none comes twice, none overtakes another.

use pgworkflows::prelude::*;
use serde_json::json;

use super::{Kind, Task};
use crate::journal::{Manner, Outcome};

pub(super) const KIND: Kind = Kind {
    name: Collect::NAME,
    about: "up to 12 signals, some in a transaction with a row: none is lost, doubled or overtaken",
    weight: 3,
    ends_alone: false,
    register: |worker, _, _| worker.workflow::<Collect>(),
    drive: |task| Box::pin(drive(task)),
};

const NUMBER: Signal<u32> = Signal::new("number");

/// How many signals in a thousand are sent in a transaction.
const IN_TRANSACTION: u64 = 300;

/// The longest time for which such a transaction stays open.
const OPEN_MAX: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Count {
    token: String,
    count: u32,
}

struct Collect;

impl Workflow for Collect {
    const NAME: &'static str = "signals";
    type Input = Count;
    type Output = Vec<u32>;

    async fn run(ctx: Context, input: Count) -> WorkflowResult<Vec<u32>> {
        let mut numbers = Vec::new();
        for _ in 0..input.count {
            numbers.push(ctx.wait_for(NUMBER).await?);
        }
        Ok(numbers)
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let count = dice.between(1, 12) as u32;
    let expected = Outcome::Completed { result: json!((0..count).collect::<Vec<_>>()) };
    // Another start that is not acknowledged would leave a run that gets no signals.
    let input = Count { token: token.clone(), count };
    let Some(run) = hand.start::<Collect>(&token, input, Manner::Keyed, expected).await? else {
        return Ok(());
    };
    for number in 0..count {
        if dice.chance(IN_TRANSACTION) {
            let open = dice.time(Duration::from_micros(100), OPEN_MAX);
            hand.signal_in_transaction(&token, &run, NUMBER, number, open).await?;
        } else {
            hand.signal(&token, &run, NUMBER, number).await?;
        }
    }
    hand.tell(&token, &run).await
}
