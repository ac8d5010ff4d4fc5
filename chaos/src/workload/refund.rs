//! Transfers whose deposit is refused: a compensation moves the money back, and the run fails with the refusal.

use pgworkflows::prelude::*;

use super::bank::{self, Move, Transfer};
use super::{Kind, Task};
use crate::journal::Outcome;

pub(super) const KIND: Kind = Kind {
    name: Bounce::NAME,
    about: "a transfer fails half-way: its compensation moves the money back, once",
    weight: 2,
    ends_alone: true,
    register: |worker, _, _| worker.workflow::<Bounce>().activity(Refuse),
    drive: |task| Box::pin(drive(task)),
};

const REFUSED: &str = "account-closed";

struct Bounce;

impl Workflow for Bounce {
    const NAME: &'static str = "refund";
    type Input = Transfer;
    type Output = ();

    async fn run(ctx: Context, transfer: Transfer) -> WorkflowResult<()> {
        ctx.activity::<Move>(transfer.withdrawal()).retry(bank::retry()).await?;
        let _ = ctx.on_failure::<Move>(transfer.refund()).retry(bank::retry());
        let Err(refusal) = ctx.activity::<Refuse>(()).await else { return Ok(()) };
        // The failure of a call has that of the activity as its cause. Any other failure is another outcome.
        match refusal.failure().and_then(|failure| failure.cause.as_deref()) {
            Some(cause) if cause.is(REFUSED) => Err(WorkflowError::new(REFUSED, &cause.message)),
            _ => Err(refusal),
        }
    }
}

/// Fails.
struct Refuse;

#[async_trait]
impl Activity for Refuse {
    const NAME: &'static str = "refuse";
    type Input = ();
    type Output = ();

    async fn execute(&self, _ctx: ActivityContext, (): ()) -> ActivityResult<()> {
        let refusal = ActivityError::new(REFUSED, "the account was closed");
        Err(ActivityError::non_retryable(refusal))
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let transfer = Transfer::draw(&mut dice, &token);
    let expected = Outcome::Failed { error: REFUSED.to_owned() };
    let manner = hand.any_manner(&mut dice);
    match hand.start::<Bounce>(&token, transfer, manner, expected).await? {
        Some(run) => hand.tell(&token, &run).await,
        None => Ok(()),
    }
}
