//! Families: a run starts children, some of them with keys, and adds up what they return. Each child runs once, and its parent
//! is told its result once.

use pgworkflows::prelude::*;
use serde_json::json;

use super::{Kind, Task};
use crate::journal::Outcome;

pub(super) const KIND: Kind = Kind {
    name: Parent::NAME,
    about: "up to 8 children of a run, some with keys: each runs once, and its parent is told so once",
    weight: 2,
    ends_alone: true,
    register: |worker, _, _| worker.workflow::<Parent>().workflow::<Child>(),
    drive: |task| Box::pin(drive(task)),
};

/// One child in so many has a key.
const KEYED: u64 = 3;

/// How much longer each child sleeps than the one before it.
const NAP: Duration = Duration::from_millis(30);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Children {
    token: String,
    count: u64,
}

struct Parent;

impl Workflow for Parent {
    const NAME: &'static str = "family";
    type Input = Children;
    type Output = u64;

    async fn run(ctx: Context, Children { token, count }: Children) -> WorkflowResult<u64> {
        let children = (0..count).map(|number| {
            let token = format!("{token}/{number}");
            let child = ctx.child::<Child>(Numbered { token: token.clone(), number });
            if number % KEYED == 0 { child.key(token) } else { child }
        });
        Ok(ctx.when_all(children).await?.into_iter().sum())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Numbered {
    token: String,
    number: u64,
}

struct Child;

impl Workflow for Child {
    const NAME: &'static str = "child";
    type Input = Numbered;
    type Output = u64;

    async fn run(ctx: Context, child: Numbered) -> WorkflowResult<u64> {
        ctx.sleep(NAP * child.number as u32).await?;
        Ok(child.number)
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let count = dice.between(1, 8);
    let expected = Outcome::Completed { result: json!(count * (count - 1) / 2) };
    let manner = hand.any_manner(&mut dice);
    let input = Children { token: token.clone(), count };
    match hand.start::<Parent>(&token, input, manner, expected).await? {
        Some(run) => hand.tell(&token, &run).await,
        None => Ok(()),
    }
}
