//! Runs in every state, some of them with texts that a terminal obeys. It must not know what is done with them.

use std::sync::Arc;

use pgworkflows::activity::ActivityDef;
use pgworkflows::client::RunStatus;
use pgworkflows::history::History;
use pgworkflows::prelude::*;
use pgworkflows::store::StoreError;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows::{AnyStore, Error, MemoryStore, RunId};

const APPROVE: Signal<bool> = Signal::new("approve");

/// What is ordered.
#[derive(Serialize, Deserialize)]
struct Order {
    item: u32,
}

/// Waits for an approval.
#[workflow(name = "order")]
async fn order(ctx: Context, order: Order) -> WorkflowResult<String> {
    let approved = ctx.wait_for(APPROVE).await?;
    if approved {
        Ok(format!("item {} is sold", order.item))
    } else {
        Err(WorkflowError::new("refused", "\u{1b}[2Jno"))
    }
}

/// Continues as another run, once.
#[workflow(name = "relay")]
async fn relay(ctx: Context, left: u32) -> WorkflowResult<()> {
    match left {
        0 => ctx.sleep(Duration::from_secs(3_600)).await,
        _ => ctx.continue_as_new::<relay>(left - 1).await,
    }
}

/// The activity queue of the tasks, which no worker here serves.
pub(crate) const CARRIERS: &str = "carriers";

const LOAD: ActivityDef<(u32,), ()> = ActivityDef::new("load");

/// Waits for two tasks.
#[workflow(name = "ship")]
async fn ship(ctx: Context, item: u32) -> WorkflowResult<()> {
    let load = || ctx.call(LOAD, item).queue(CARRIERS);
    ctx.when_all([load(), load().at_most_once()]).await?;
    Ok(())
}

/// Runs, and the history of one of them.
#[derive(Debug)]
pub struct Runs {
    /// The store.
    pub store: MemoryStore,
    /// The runs.
    pub ids: Vec<RunId>,
    /// The history of the first one, which is over.
    pub history: History,
}

impl Default for Runs {
    fn default() -> Self {
        Self::new()
    }
}

impl Runs {
    /// Makes the runs.
    ///
    /// # Panics
    /// Panics if they cannot be made.
    pub fn new() -> Self {
        let store = MemoryStore::new();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        let (ids, history) =
            runtime.block_on(populate(&(Arc::new(store.clone()) as AnyStore))).expect("the runs are made");
        Self { store, ids, history }
    }
}

/// A worker that knows all workflows.
pub(crate) fn worker(store: &AnyStore) -> WorkerBuilder {
    let worker = Worker::builder(store.clone()).processors(1).queue_shards(4).name("\u{202e}krow");
    worker.workflow::<order>().workflow::<relay>().workflow::<ship>()
}

/// Makes runs in every state. Returns them, and the history of one.
pub(crate) async fn populate(store: &AnyStore) -> std::result::Result<(Vec<RunId>, History), Error> {
    let worker = worker(store).build()?;
    let client = Client::builder(store.clone()).queue_shards(4).build()?;
    let mut made = Err(Error::from(StoreError::misconfigured("the worker ended early")));
    worker.run_until(async { made = make(&client).await }).await?;
    let mut runs = made?;
    // One that no worker has begun, with what a terminal obeys in its name, its key and its input.
    let hostile = client.start_named("\u{202e}gpj", serde_json::json!("\u{9b}2J")).key("\u{2066}yek").await?;
    runs.push(hostile.run_id());
    let history = client.export(runs[0]).await?;
    Ok((runs, history))
}

async fn make(client: &Client) -> std::result::Result<Vec<RunId>, Error> {
    let start = async |key: &str| client.start::<order>(Order { item: 1 }).key(key).await;
    let (over, failed, paused, open) =
        (start("over").await?, start("failed").await?, start("paused").await?, start("open").await?);
    over.signal(APPROVE, true).await?;
    failed.signal(APPROVE, false).await?;
    paused.pause().reason("\u{1b}[2Jstocktaking").await?;
    over.result().await?;
    drop(failed.result().await);
    let stalled =
        client.start_named("order", serde_json::json!({"item": "\u{1b}[2J"})).key("stalled").await?;
    let relayed = client.start::<relay>(1).await?;
    let shipped = client.start::<ship>(1).await?;
    for (run, status) in [
        (stalled.run_id(), RunStatus::Stalled),
        (paused.run_id(), RunStatus::Paused),
        (open.run_id(), RunStatus::Waiting),
        (relayed.run_id(), RunStatus::Waiting),
        (shipped.run_id(), RunStatus::Waiting),
    ] {
        while client.describe(run).await?.status != status {
            tokio::task::yield_now().await;
        }
    }
    Ok([
        over.run_id(),
        failed.run_id(),
        open.run_id(),
        paused.run_id(),
        stalled.run_id(),
        relayed.run_id(),
        shipped.run_id(),
    ]
    .into())
}
