//! A world in which everything happens that operators are told of runs: they start, fail, stall, are paused, cancelled,
//! terminated, tried again, compensated. All on the calling thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows::trace::tracing;
use pgworkflows::worker::{WorkerBuilder, WorkerMonitor};
use pgworkflows::{RunHandle, store::Store};

pub(crate) const GO: Signal<String> = Signal::new("go");
const ASK: Update<String, String> = Update::new("ask");
const SHOWN: View<String> = View::new("shown");

/// What every payload of the world contains.
pub(crate) const SECRET: &str = "s3cret-payload";

/// A payload.
fn secret(of: &str) -> String {
    format!("{SECRET}: {of}")
}

/// An activity that fails as often as its input says first.
struct Flaky(AtomicU32);

#[async_trait]
impl Activity for Flaky {
    const NAME: &'static str = "flaky";
    type Input = (u32, String);
    type Output = String;

    fn options() -> ActivityOptions {
        ActivityOptions::default()
            .retry(RetryPolicy::exponential().initial(Duration::from_millis(1)).max_attempts(3))
    }

    async fn execute(&self, ctx: ActivityContext, (failures, _): (u32, String)) -> ActivityResult<String> {
        tracing::info!(target: "user", "the activity speaks");
        self.0.fetch_add(1, Ordering::Relaxed);
        if ctx.attempt() <= failures {
            Err(ActivityError::new("unlucky", "no such luck").with_details(&secret("details")))
        } else {
            Ok(secret("result"))
        }
    }
}

#[workflow(name = "all-well")]
async fn all_well(ctx: Context, input: String) -> WorkflowResult<String> {
    tracing::info!(target: "user", "the workflow speaks");
    let _handler = ctx.serve(ASK, async |question: String| secret(&question));
    ctx.publish(SHOWN, &secret("view"));
    let recorded = ctx.record("recorded", || secret("recorded")).await;
    ctx.activity::<Flaky>((1, input)).await?;
    let tries = AtomicU32::new(0);
    let tries = std::sync::Arc::new(tries);
    let step = move || {
        let tries = std::sync::Arc::clone(&tries);
        async move {
            tracing::info!(target: "user", "the step speaks");
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(ActivityError::new("unlucky", "not at once").with_details(&secret("step")));
            }
            Ok(secret("step"))
        }
    };
    let soon = RetryPolicy::exponential().initial(Duration::from_millis(1)).max_attempts(2);
    ctx.step("careful", step).retry(soon).await?;
    let signal = ctx.wait_for(GO).await?;
    Ok(format!("{recorded} {signal}"))
}

#[workflow(name = "all-fails")]
async fn all_fails(ctx: Context, input: String) -> WorkflowResult<String> {
    ctx.on_failure::<Flaky>((9, secret("compensation")));
    ctx.step("hopeless", || async {
        Err::<(), _>(ActivityError::new("unlucky", "never").with_details(&secret("step")))
    })
    .await
    .ok();
    ctx.activity::<Flaky>((9, input)).await
}

#[workflow(name = "waits")]
async fn waits(ctx: Context, _input: String) -> WorkflowResult<String> {
    ctx.wait_for(GO).await
}

#[workflow(name = "goes-on")]
async fn goes_on(ctx: Context, input: u32) -> WorkflowResult<u32> {
    match input {
        0 => Ok(0),
        left => ctx.continue_as_new::<goes_on>(left - 1).await,
    }
}

thread_local! {
    /// Whether the code of `stalls` is broken.
    static BROKEN: Cell<bool> = const { Cell::new(true) };
}

#[workflow(name = "stalls")]
async fn stalls(_ctx: Context, _input: String) -> WorkflowResult<()> {
    assert!(!BROKEN.get(), "a bad deploy");
    Ok(())
}

#[workflow(name = "fussy")]
async fn fussy(_ctx: Context, _input: u32) -> WorkflowResult<()> {
    Ok(())
}

/// Adds what the world needs to a worker.
pub(crate) fn equip(worker: WorkerBuilder) -> WorkerBuilder {
    let worker = worker.workflow::<all_well>().workflow::<all_fails>().workflow::<waits>();
    let worker = worker.workflow::<goes_on>().workflow::<stalls>().workflow::<fussy>();
    worker.activity(Flaky(AtomicU32::new(0))).processors(1)
}

/// Drives the world on this thread. Returns the metrics of its worker.
pub(crate) async fn drive(store: impl Store + Clone) -> WorkerMonitor {
    let worker = equip(Worker::builder(store.clone()).name("world")).build().unwrap();
    let (monitor, client) = (worker.monitor(), Client::new(store));
    worker.run_on_this_thread(script(&client)).await.unwrap();
    monitor
}

async fn script(client: &Client) {
    let run = client.start::<all_well>(secret("input")).key("well:1").await.unwrap();
    assert!(run.update(ASK, secret("question")).await.unwrap().contains(SECRET));
    run.signal(GO, secret("signal")).await.unwrap();
    assert!(run.result().await.unwrap().contains(SECRET));

    let soon = RetryPolicy::exponential().initial(Duration::from_millis(1)).max_attempts(2);
    let run = client.start::<all_fails>(secret("input")).retry(soon).await.unwrap();
    run.result().await.unwrap_err();
    let run = client.start::<goes_on>(2).await.unwrap();
    run.result().await.unwrap();

    let run = waiting(client.start::<waits>(secret("input")).await.unwrap()).await;
    run.pause().reason("maintenance").await.unwrap();
    reached(&run, RunStatus::Paused).await;
    run.resume().await.unwrap();
    run.cancel().reason("no need").await.unwrap();
    run.result().await.unwrap_err();
    let run = waiting(client.start::<waits>(secret("input")).await.unwrap()).await;
    run.terminate("no patience").await.unwrap();
    run.result().await.unwrap_err();
    let run = client.start::<waits>(secret("input")).deadline(Duration::from_millis(50)).await.unwrap();
    run.result().await.unwrap_err();

    // An input that is not of the workflow's type, and a bad deploy that is undone
    let run = client.start_named("fussy", pgworkflows::serde_json::json!(secret("input"))).await.unwrap();
    reached(&run, RunStatus::Stalled).await;
    run.terminate("it cannot be read").await.unwrap();
    let run = client.start::<stalls>(secret("input")).await.unwrap();
    reached(&run, RunStatus::Stalled).await;
    BROKEN.set(false);
    run.resume().await.unwrap();
    run.result().await.unwrap();
    BROKEN.set(true);
}

async fn waiting<W: pgworkflows::client::RunType>(run: RunHandle<W>) -> RunHandle<W> {
    reached(&run, RunStatus::Waiting).await;
    run
}

/// Waits until a run has a status.
async fn reached<W: pgworkflows::client::RunType>(run: &RunHandle<W>, status: RunStatus) {
    while run.status().await.unwrap() != status {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
