//! Activities that are executed at most once: after a crash the run is told that the attempt was lost, and the activity is
//! not executed again.

use pgworkflows::prelude::*;
use pgworkflows::sqlx::{self, PgPool};

use super::{Kind, Task};
use crate::journal::Outcome;

pub(super) const KIND: Kind = Kind {
    name: AtMostOnce::NAME,
    about: "an activity that is executed at most once inserts at most one row",
    weight: 1,
    ends_alone: true,
    register: |worker, users, _| worker.workflow::<AtMostOnce>().activity(Insert(users.clone())),
    drive: |task| Box::pin(drive(task)),
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Named {
    token: String,
}

struct AtMostOnce;

impl Workflow for AtMostOnce {
    const NAME: &'static str = "once";
    type Input = Named;
    /// Whether the activity completed.
    type Output = bool;

    async fn run(ctx: Context, input: Named) -> WorkflowResult<bool> {
        Ok(ctx.activity::<Insert>(input.token).at_most_once().await.is_ok())
    }
}

/// Inserts a row, and takes a while.
struct Insert(PgPool);

#[async_trait]
impl Activity for Insert {
    const NAME: &'static str = "insert";
    type Input = String;
    type Output = ();

    async fn execute(&self, ctx: ActivityContext, token: String) -> ActivityResult<()> {
        sqlx::query("insert into chaos.executions (token) values ($1)").bind(token).execute(&self.0).await?;
        ctx.sleep(Duration::from_millis(200)).await;
        Ok(())
    }
}

async fn drive(Task { hand, mut dice, token }: Task) -> anyhow::Result<()> {
    let manner = hand.any_manner(&mut dice);
    let input = Named { token: token.clone() };
    match hand.start::<AtMostOnce>(&token, input, manner, Outcome::Open).await? {
        Some(run) => hand.tell(&token, &run).await,
        None => Ok(()),
    }
}
