//! Views of runs, as people see them in SQL.

use std::time::Duration;

use pgworkflows_core::prelude::*;
use pgworkflows_core::{Client, Worker};
use serde_json::{Value, json};

use crate::support::*;

const PROGRESS: View<Progress> = View::new("progress");
const STAGE: View<String> = View::new("stage");
const GO: Signal<()> = Signal::new("go");

#[derive(Serialize, Deserialize)]
struct Progress {
    done: u32,
    of: Option<u32>,
}

struct Batch;

impl Workflow for Batch {
    const NAME: &'static str = "batch";
    type Input = ();
    type Output = ();

    async fn run(ctx: Context, (): ()) -> WorkflowResult<()> {
        ctx.publish(STAGE, &"begins".to_owned());
        ctx.sleep(Duration::from_millis(1)).await?;
        ctx.publish(PROGRESS, &Progress { done: 3, of: Some(7) });
        ctx.wait_for(GO).await?;
        ctx.publish(PROGRESS, &Progress { done: 7, of: None });
        Ok(())
    }
}

/// The views in the order of their names.
async fn views(world: &World) -> Value {
    let sql = "select coalesce(jsonb_agg(jsonb_build_array(name, value, seq) order by name), '[]')::text from pgworkflows.views";
    let text: String = sqlx::query_scalar(sql).fetch_one(&mut world.connection().await).await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn sql_shows_the_newest_value_of_each_view_as_jsonb() {
    let world = World::new().await;
    let worker = Worker::builder(world.store.clone()).queue(world.queue.name.clone()).workflow::<Batch>();
    let worker = worker.build().unwrap();
    let client = Client::builder(world.store.clone()).queue(world.queue.name.clone()).build().unwrap();
    let talk = async {
        // Given a run that has published two views
        let run = client.start::<Batch>(()).await.unwrap();
        run.watch(PROGRESS).next().await.unwrap().unwrap();
        assert_eq!(
            views(&world).await,
            json!([["progress", {"done": 3, "of": 7}, 5], ["stage", "begins", 3]])
        );
        // When it publishes one again, with its end
        run.signal(GO, ()).await.unwrap();
        run.result().await.unwrap();
        assert_eq!(
            views(&world).await,
            json!([["progress", {"done": 7, "of": null}, 7], ["stage", "begins", 3]])
        );
    };
    worker.run_until(talk).await.unwrap();
}
