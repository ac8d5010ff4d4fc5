//! Workers in this process, and the workflows of the tests that need no trial.

use std::sync::Arc;

use pgworkflows::Worker;
use pgworkflows::prelude::*;
use pgworkflows::store::Store;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_examples::trial::{Onboarding, Services, trial_onboarding};
use pgworkflows_tests::{Journal, RunningWorker};

use crate::env::SHARDS;

/// Sends a number.
pub(crate) const NUMBER: Signal<u32> = Signal::new("number");

/// Waits for that many numbers, and returns them in the order of their arrival.
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

/// Sleeps for that many milliseconds.
pub(crate) struct Nap;

impl Workflow for Nap {
    const NAME: &'static str = "nap";
    type Input = u64;
    type Output = ();

    async fn run(ctx: Context, millis: u64) -> WorkflowResult<()> {
        ctx.sleep(Duration::from_millis(millis)).await
    }
}

/// Starts a worker for the trial and the workflows above.
pub(crate) fn start_worker(
    store: impl Store,
    configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
) -> RunningWorker {
    start_noting_worker(store, &Journal::default(), configure)
}

/// As [`start_worker`], with a note of everything that activities of the trial do.
pub(crate) fn start_noting_worker(
    store: impl Store,
    journal: &Journal,
    configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
) -> RunningWorker {
    let journal = journal.clone();
    let services: Services = Arc::new(move |activity, what| journal.note(format!("{activity}: {what}")));
    let builder = Worker::builder(store).workflow::<trial_onboarding>().activities(Onboarding { services });
    let builder = builder.workflow::<Collect>().workflow::<Nap>().queue_shards(SHARDS);
    RunningWorker::start(configure(builder).build().unwrap())
}
