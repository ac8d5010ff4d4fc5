//! Fan-outs: many activities at once, some of which fail at first, and half of which any worker may execute. Each has one
//! outcome.

use pgworkflows::prelude::*;
use serde_json::json;

use super::{Kind, Task};
use crate::journal::Outcome;

pub(super) const KIND: Kind = Kind {
    name: FanOut::NAME,
    about: "up to 60 activities at once, half of them as tasks, some of which fail at first: each is counted once",
    weight: 2,
    ends_alone: true,
    register: |worker, _, _| worker.workflow::<FanOut>().activity(Weigh).activity_queue(SCALES, 8),
    drive: |task| Box::pin(drive(task)),
};

/// The activity queue of half of the activities.
const SCALES: &str = "scales";

/// One activity in so many fails at its first attempt.
const FLAKY: u64 = 7;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Width {
    token: String,
    width: u64,
}

struct FanOut;

impl Workflow for FanOut {
    const NAME: &'static str = "fan-out";
    type Input = Width;
    type Output = u64;

    async fn run(ctx: Context, input: Width) -> WorkflowResult<u64> {
        let retry = || RetryPolicy::exponential().initial(Duration::from_millis(20)).max_attempts(3);
        let branches = (0..input.width).map(|number| {
            let weigh = ctx.activity::<Weigh>(number).retry(retry());
            if number % 2 == 0 { weigh } else { weigh.queue(SCALES) }
        });
        Ok(ctx.when_all(branches).await?.into_iter().sum())
    }
}

/// Takes some milliseconds, and doubles a number.
struct Weigh;

#[async_trait]
impl Activity for Weigh {
    const NAME: &'static str = "weigh";
    type Input = u64;
    type Output = u64;

    async fn execute(&self, ctx: ActivityContext, number: u64) -> ActivityResult<u64> {
        ctx.sleep(Duration::from_millis(number)).await;
        if number % FLAKY == FLAKY - 1 && ctx.attempt() == 1 {
            return Err(ActivityError::new("flaky", "the first attempt fails"));
        }
        Ok(2 * number)
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let width = dice.between(2, 60);
    let expected = Outcome::Completed { result: json!(width * (width - 1)) };
    let manner = hand.any_manner(&mut dice);
    let input = Width { token: token.clone(), width };
    match hand.start::<FanOut>(&token, input, manner, expected).await? {
        Some(run) => hand.tell(&token, &run).await,
        None => Ok(()),
    }
}
