//! A world in which everything happens that operators are told of runs: they start, fail, stall, are paused, cancelled,
//! terminated, tried again, compensated, and everything in which a run has a payload. All on the calling thread.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows::trace::tracing;
use pgworkflows::worker::{WorkerBuilder, WorkerMonitor};
use pgworkflows::{Error, Recipient, RunHandle, RunId, SqliteStore, store::Store};

pub(crate) const GO: Signal<String> = Signal::new("go");
const ASK: Update<String, String> = Update::new("ask");
const SHOWN: View<String> = View::new("shown");

/// The activity queue whose tasks are executed as those of another process would be.
const ELSEWHERE: &str = "elsewhere";

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
async fn goes_on(ctx: Context, (left, input): (u32, String)) -> WorkflowResult<String> {
    if left > 0 { ctx.continue_as_new::<goes_on>((left - 1, input)).await } else { Ok(input) }
}

#[workflow(name = "child")]
async fn child(_ctx: Context, (is_well, input): (bool, String)) -> WorkflowResult<String> {
    if is_well { Ok(input) } else { Err(WorkflowError::new("unlucky", "never").with_details(&input)) }
}

/// Has children, a task, and signals for a run and for nobody.
#[workflow(name = "reaches-out")]
async fn reaches_out(ctx: Context, to: RunId) -> WorkflowResult<String> {
    ctx.signal(to, GO, secret("signal of a run"));
    ctx.signal(Recipient::keyed::<waits>("nobody"), GO, secret("signal for nobody"));
    ctx.child::<child>((true, secret("input of a child"))).await?;
    ctx.child::<child>((false, secret("input of a child"))).await.unwrap_err();
    ctx.activity::<Flaky>((1, secret("input of a task"))).queue(ELSEWHERE).await
}

/// Unwraps an error with details.
#[workflow(name = "careless")]
async fn careless(ctx: Context, input: String) -> WorkflowResult<String> {
    Ok(ctx.activity::<Flaky>((9, input)).await.unwrap())
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
    let worker = worker.workflow::<child>().workflow::<reaches_out>().workflow::<careless>();
    worker.activity(Flaky(AtomicU32::new(0))).activity_queue(ELSEWHERE, 1).processors(1)
}

/// A SQLite file of a test, which is deleted with it.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("pgworkflows-telemetry-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    pub(crate) async fn open(&self) -> SqliteStore {
        SqliteStore::open(self.0.join("runs.db")).await.unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What came of the world.
pub(crate) struct Driven {
    /// The metrics of its worker.
    pub(crate) monitor: WorkerMonitor,
    /// The texts of all errors that its clients got.
    pub(crate) errors: Vec<String>,
}

/// Drives the world on this thread.
pub(crate) async fn drive(store: impl Store + Clone) -> Driven {
    let worker = equip(Worker::builder(store.clone()).name("world")).build().unwrap();
    let (monitor, client) = (worker.monitor(), Client::new(store.clone()));
    let mut errors = Vec::new();
    let script = async {
        script(&client, &mut errors).await;
        reach_out(&client).await;
        mistakes(&client, &store, &mut errors).await;
    };
    worker.run_on_this_thread(script).await.unwrap();
    Driven { monitor, errors }
}

/// Takes down what an error says, to people and to programmers.
fn note(errors: &mut Vec<String>, error: &Error) {
    errors.push(error.to_string());
    errors.push(format!("{error:?}"));
}

async fn script(client: &Client, errors: &mut Vec<String>) {
    let run = client.start::<all_well>(secret("input")).key("well:1").await.unwrap();
    assert!(run.update(ASK, secret("question")).await.unwrap().contains(SECRET));
    assert!(run.view(SHOWN).await.unwrap().unwrap().contains(SECRET));
    run.signal(GO, secret("signal")).await.unwrap();
    assert!(run.result().await.unwrap().contains(SECRET));

    let soon = RetryPolicy::exponential().initial(Duration::from_millis(1)).max_attempts(2);
    let run = client.start::<all_fails>(secret("input")).retry(soon).await.unwrap();
    let failed = run.result().await.unwrap_err();
    assert!(failed.failure().unwrap().details::<String>().unwrap().contains(SECRET));
    note(errors, &failed);
    let run = client.start::<goes_on>((2, secret("input"))).await.unwrap();
    run.result().await.unwrap();

    let run = waiting(client.start::<waits>(secret("input")).await.unwrap()).await;
    run.pause().reason("maintenance").await.unwrap();
    reached(&run, RunStatus::Paused).await;
    run.resume().await.unwrap();
    run.cancel().reason("no need").await.unwrap();
    note(errors, &run.result().await.unwrap_err());
    let run = waiting(client.start::<waits>(secret("input")).await.unwrap()).await;
    run.terminate("no patience").await.unwrap();
    note(errors, &run.result().await.unwrap_err());
    let run = client.start::<waits>(secret("input")).deadline(Duration::from_millis(50)).await.unwrap();
    note(errors, &run.result().await.unwrap_err());

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

/// What runs send to one another, and clients to many.
async fn reach_out(client: &Client) {
    let run = client.start::<waits>(secret("input")).await.unwrap();
    let sender = client.start::<reaches_out>(run.run_id()).await.unwrap();
    assert!(run.result().await.unwrap().contains(SECRET));
    assert!(sender.result().await.unwrap().contains(SECRET));
    let run = client.start::<waits>(secret("input")).with_signal(GO, secret("signal")).await.unwrap();
    assert!(run.result().await.unwrap().contains(SECRET));
    let run = client.start::<waits>(secret("input")).key("many:1").await.unwrap();
    let sent = client.broadcast::<waits, _>(GO, secret("signal")).key_prefix("many:").all().await.unwrap();
    assert_eq!(sent, 1);
    assert!(run.result().await.unwrap().contains(SECRET));
}

/// What clients get wrong, and code.
async fn mistakes(client: &Client, store: &(impl Store + Clone), errors: &mut Vec<String>) {
    let run = client.start::<waits>(secret("input")).key("taken").await.unwrap();
    note(errors, &client.start::<waits>(secret("another")).key("taken").await.unwrap_err());
    note(errors, &run.result().timeout(Duration::from_millis(1)).await.unwrap_err());
    run.signal(GO, secret("signal")).await.unwrap();
    run.result().await.unwrap();
    note(errors, &run.signal(GO, secret("late")).await.unwrap_err());

    // Types that do not fit
    let well = client.start::<all_well>(secret("input")).key("well:2").await.unwrap();
    let asked = well.update(Update::<String, u32>::new("ask"), secret("question")).await;
    note(errors, &asked.unwrap_err());
    note(errors, &well.view(View::<u32>::new("shown")).await.unwrap_err());
    let strict = Update::<String, String>::new("ask").check(|_| Err("never".into()));
    note(errors, &well.update(strict, secret("question")).await.unwrap_err());
    well.terminate("seen enough").await.unwrap();
    let told = Client::builder(store.clone()).workflow::<fussy>().signal(GO).payload_bytes_max(100);
    let told = told.build().unwrap();
    let json = || pgworkflows::serde_json::json!(secret("of another type"));
    note(errors, &told.start_named("fussy", json()).await.unwrap_err());
    let list = pgworkflows::serde_json::json!([secret("of another type")]);
    note(errors, &told.signal_named(run.run_id(), "go", list).await.unwrap_err());
    note(errors, &told.start::<waits>(SECRET.repeat(100)).await.unwrap_err());

    let run = client.start::<careless>(secret("input")).await.unwrap();
    reached(&run, RunStatus::Stalled).await;
    note(errors, &run.result().timeout(Duration::from_millis(1)).await.unwrap_err());
    run.terminate("it unwraps").await.unwrap();
    note(errors, &run.result().await.unwrap_err());
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
