//! Chains: a run takes a few signals and continues as new, until it has taken all. None is missing, none comes twice, none
//! overtakes another, and a handle of the first run tells how the last one ended.

use pgworkflows::prelude::*;
use serde_json::json;

use super::{Kind, Task};
use crate::journal::{Manner, Outcome};

pub(super) const KIND: Kind = Kind {
    name: Relay::NAME,
    about: "up to 20 signals to a run that continues as new meanwhile: none is lost, doubled or overtaken",
    weight: 2,
    ends_alone: false,
    register: |worker, _, _| worker.workflow::<Relay>(),
    drive: |task| Box::pin(drive(task)),
};

const NUMBER: Signal<u32> = Signal::new("relayed");

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Numbers {
    token: String,
    count: usize,
    /// How many signals a run takes.
    per_run: usize,
    taken: Vec<u32>,
}

struct Relay;

impl Workflow for Relay {
    const NAME: &'static str = "chain";
    type Input = Numbers;
    type Output = Vec<u32>;

    async fn run(ctx: Context, mut numbers: Numbers) -> WorkflowResult<Vec<u32>> {
        let enough = numbers.count.min(numbers.taken.len() + numbers.per_run);
        while numbers.taken.len() < enough {
            numbers.taken.push(ctx.wait_for(NUMBER).await?);
        }
        if enough < numbers.count {
            ctx.continue_as_new::<Self>(numbers.clone()).await;
        }
        Ok(numbers.taken)
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let count = dice.between(2, 20) as u32;
    let expected = Outcome::Completed { result: json!((0..count).collect::<Vec<_>>()) };
    let per_run = dice.between(1, 4) as usize;
    let input = Numbers { token: token.clone(), count: count as usize, per_run, taken: Vec::new() };
    // As with signals, another start that is not acknowledged would leave a run that gets none.
    let Some(run) = hand.start::<Relay>(&token, input, Manner::Keyed, expected).await? else {
        return Ok(());
    };
    for number in 0..count {
        hand.signal(&token, &run, NUMBER, number).await?;
    }
    hand.tell(&token, &run).await
}
