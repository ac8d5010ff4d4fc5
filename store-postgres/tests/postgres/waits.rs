//! What runs wait for, as people see it in SQL.

use std::time::Duration;

use pgworkflows_core::client::RunStatus;
use pgworkflows_core::prelude::*;
use pgworkflows_core::{Client, Worker};
use serde_json::{Value, json};

use crate::support::*;

struct Charges;

impl Workflow for Charges {
    const NAME: &'static str = "charges";
    type Input = ();
    type Output = ();

    async fn run(ctx: Context, (): ()) -> WorkflowResult<()> {
        let day = Duration::from_secs(86_400);
        ctx.activity::<Charge>(()).retry(RetryPolicy::exponential().initial(day).delay_max(day)).await
    }
}

struct Charge;

#[async_trait]
impl Activity for Charge {
    const NAME: &'static str = "charge";
    type Input = ();
    type Output = ();

    async fn execute(&self, _: ActivityContext, (): ()) -> ActivityResult<()> {
        Err(ActivityError::new("bänk", "the bank says \"\0\u{1b}no\\u0000\" 🏦"))
    }
}

#[tokio::test]
async fn sql_shows_the_waits_of_a_run_whose_failure_has_characters_that_jsonb_does_not_hold() {
    let world = World::new().await;
    let worker = Worker::builder(world.store.clone()).queue(world.queue.name.clone());
    let worker = worker.workflow::<Charges>().activity(Charge).build().unwrap();
    let client = Client::builder(world.store.clone()).queue(world.queue.name.clone()).build().unwrap();
    let talk = async {
        // Given an attempt in back-off, whose failure has U+0000
        let run = client.start::<Charges>(()).await.unwrap();
        while run.status().await.unwrap() != RunStatus::Waiting {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // When people look at all runs, then that one hides none of them, and shows the rest of its failure
        let sql = "select jsonb_agg(waits)::text from pgworkflows.runs";
        let text: String = sqlx::query_scalar(sql).fetch_one(&mut world.connection().await).await.unwrap();
        let waits: Value = serde_json::from_str(&text).unwrap();
        let failure = &waits[0][0]["last_failure"];
        assert!(failure.as_str().unwrap().contains("the bank says \"no\\u0000\" 🏦"), "{failure}");
        // And a client sees the same
        assert_eq!(json!(run.describe().await.unwrap().waits), waits[0]);
    };
    worker.run_until(talk).await.unwrap();
}
