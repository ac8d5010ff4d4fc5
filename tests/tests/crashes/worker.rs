//! A worker in this process, with activities that count, and the workflow that most tests without a trial use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pgworkflows::prelude::*;
use pgworkflows::store::Store;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows::{Error, Worker};
use pgworkflows_examples::trial::{self, Story};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::env::SHARDS;

/// Brings a number.
pub(crate) const NUMBER: Signal<u32> = Signal::new("number");

/// Takes as many numbers as it is told, and returns them in the order in which they came.
pub(crate) struct Collect;

impl Workflow for Collect {
    const NAME: &'static str = "collect";
    type Input = u32;
    type Output = Vec<u32>;

    async fn run(ctx: Context, count: u32) -> WorkflowResult<Vec<u32>> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(ctx.wait_for(NUMBER).await?);
        }
        Ok(numbers)
    }
}

/// Sleeps for so many milliseconds.
pub(crate) struct Nap;

impl Workflow for Nap {
    const NAME: &'static str = "nap";
    type Input = u64;
    type Output = ();

    async fn run(ctx: Context, millis: u64) -> WorkflowResult<()> {
        ctx.sleep(Duration::from_millis(millis)).await
    }
}

/// A running worker. Dropped, it ends without handing anything over.
pub(crate) struct Working {
    task: JoinHandle<Result<(), Error>>,
    stop: Option<oneshot::Sender<()>>,
    executions: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Working {
    /// Starts one that knows the trial and the workflows above.
    pub(crate) fn start(store: impl Store, tune: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Self {
        let executions = Arc::new(Mutex::new(BTreeMap::new()));
        let count = Arc::clone(&executions);
        let story: Story = Arc::new(move |activity, what| {
            *count.lock().unwrap().entry(format!("{activity}: {what}")).or_default() += 1;
        });
        let builder = trial::register(Worker::builder(store), &story);
        let builder = builder.workflow::<Collect>().workflow::<Nap>().queue_shards(SHARDS);
        let worker = tune(builder).build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(worker.run_until(async {
            drop(stopped.await);
        }));
        Self { task, stop: Some(stop), executions }
    }

    /// How often each activity was executed, by what it did.
    pub(crate) fn executions(&self) -> BTreeMap<String, u32> {
        self.executions.lock().unwrap().clone()
    }

    /// Shuts it down, and returns when it has handed over.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.task).await.unwrap().unwrap();
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.task.abort();
    }
}
