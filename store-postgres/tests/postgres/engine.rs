//! The whole engine on the store: a workflow, its worker and its client. It must not know the store's tables.

use std::time::Duration;

use pgworkflows_core::prelude::*;
use pgworkflows_core::{Client, Worker};
use pgworkflows_postgres::PostgresStore;

use crate::support::unique;

pub(crate) struct Greeting;

impl Workflow for Greeting {
    const NAME: &'static str = "greeting";
    type Input = String;
    type Output = String;

    async fn run(ctx: Context, name: String) -> WorkflowResult<String> {
        let word = ctx.wait_for(WORD).await?;
        ctx.sleep(Duration::from_millis(1)).await?;
        ctx.activity::<Greet>((word, name)).await
    }
}

pub(crate) const WORD: Signal<String> = Signal::new("word");

struct Greet;

#[async_trait]
impl Activity for Greet {
    const NAME: &'static str = "greet";
    type Input = (String, String);
    type Output = String;

    async fn execute(&self, _: ActivityContext, (word, name): Self::Input) -> ActivityResult<String> {
        Ok(format!("{word}, {name}!"))
    }
}

pub(crate) fn worker(store: &PostgresStore, processors: usize) -> Worker {
    let worker = Worker::builder(store.clone()).workflow::<Greeting>().activity(Greet);
    worker.processors(processors).heartbeat_interval(Duration::from_millis(50)).build().unwrap()
}

/// Runs start, wait, are signalled and complete; then the worker shuts down and releases its shards.
pub(crate) async fn runs_complete(store: &PostgresStore, processors: usize) {
    let worker = worker(store, processors);
    let client = Client::builder(store.clone()).poll_interval(Duration::from_millis(50)).build().unwrap();
    let talk = async {
        let runs = (0..20).map(|number| {
            let client = client.clone();
            async move {
                let start = client.start::<Greeting>(format!("Ada {number}"));
                // Half of the starts go through the inbox, because a keyed start is never passed to a processor
                // directly.
                let run = match number % 2 {
                    0 => start.await?,
                    _ => start.key(format!("greeting:{}", unique())).await?,
                };
                run.signal(WORD, "Hello".to_owned()).await?;
                run.result().await
            }
        });
        futures::future::try_join_all(runs).await
    };
    let mut answers = None;
    worker.run_until(async { answers = Some(talk.await) }).await.unwrap();
    let answers = answers.unwrap().unwrap();
    assert_eq!(answers, (0..20).map(|number| format!("Hello, Ada {number}!")).collect::<Vec<_>>());
}
