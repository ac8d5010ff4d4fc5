//! Cancellations: a run that would sleep for an hour is cancelled, and cleans up.

use pgworkflows::prelude::*;

use super::{Kind, Task};
use crate::journal::{Manner, Outcome};

pub(super) const KIND: Kind = Kind {
    name: Patient::NAME,
    about: "a run that would sleep for an hour is cancelled, and cleans up",
    weight: 1,
    ends_alone: false,
    register: |worker, _, _| worker.workflow::<Patient>().activity(CleanUp),
    drive: |task| Box::pin(drive(task)),
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Named {
    token: String,
}

struct Patient;

impl Workflow for Patient {
    const NAME: &'static str = "cancelled";
    type Input = Named;
    type Output = ();

    async fn run(ctx: Context, _: Named) -> WorkflowResult<()> {
        let _ = ctx.on_failure::<CleanUp>(());
        ctx.sleep(Duration::from_secs(3600)).await
    }
}

/// Succeeds.
struct CleanUp;

#[async_trait]
impl Activity for CleanUp {
    const NAME: &'static str = "clean-up";
    type Input = ();
    type Output = ();

    async fn execute(&self, _ctx: ActivityContext, (): ()) -> ActivityResult<()> {
        Ok(())
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let input = Named { token: token.clone() };
    // As with signals, a run whose id is not known could not be cancelled.
    let Some(run) = hand.start::<Patient>(&token, input, Manner::Keyed, Outcome::Cancelled).await? else {
        return Ok(());
    };
    // Before the run begins, or later.
    tokio::time::sleep(dice.time(Duration::from_millis(1), Duration::from_secs(1))).await;
    hand.cancel(&token, &run).await?;
    hand.tell(&token, &run).await
}
