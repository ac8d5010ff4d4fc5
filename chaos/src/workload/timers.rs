//! Timers: a run sleeps a few times. No timer fires early by the server's clock, and each fires once.

use pgworkflows::prelude::*;
use serde_json::json;

use super::{Kind, Task};
use crate::journal::Outcome;

pub(super) const KIND: Kind = Kind {
    name: Naps::NAME,
    about: "a run sleeps for up to 4 s, several times: no timer fires early",
    weight: 2,
    ends_alone: true,
    register: |worker, _, _| worker.workflow::<Naps>(),
    drive: |task| Box::pin(drive(task)),
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sleeps {
    token: String,
    millis: Vec<u64>,
}

struct Naps;

impl Workflow for Naps {
    const NAME: &'static str = "timers";
    type Input = Sleeps;
    type Output = usize;

    async fn run(ctx: Context, sleeps: Sleeps) -> WorkflowResult<usize> {
        for millis in &sleeps.millis {
            ctx.sleep(Duration::from_millis(*millis)).await?;
        }
        Ok(sleeps.millis.len())
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let (least, most) = (Duration::from_millis(10), Duration::from_secs(4));
    let sleeps = (0..dice.between(1, 3)).map(|_| dice.time(least, most).as_millis() as u64);
    let input = Sleeps { token: token.clone(), millis: sleeps.collect() };
    let expected = Outcome::Completed { result: json!(input.millis.len()) };
    let manner = hand.any_manner(&mut dice);
    match hand.start::<Naps>(&token, input, manner, expected).await? {
        Some(run) => hand.tell(&token, &run).await,
        None => Ok(()),
    }
}
