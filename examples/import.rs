//! Steps and views: an import loads page after page in its own process, and shows how far it is.
//!
//! `cargo run --example import`

#![expect(clippy::print_stdout, reason = "this program shows what happens")]

use pgworkflows::prelude::*;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Progress {
    pages: u32,
    rows: usize,
}

/// Any process reads a view, without waking the run, and also after its end.
const PROGRESS: View<Progress> = View::new("progress");

#[workflow(name = "import")]
async fn import(ctx: Context, pages: u32) -> WorkflowResult<String> {
    // Recorded, because a replay in another process might find another value.
    let machine = ctx.record("machine", || std::env::var("HOSTNAME").ok()).await;
    let mut rows = 0;
    for page in 1..=pages {
        // A step is a closure that the run's own worker executes. Its outcome is recorded, so that no page is loaded again
        // once it was loaded. What other workers may execute as well, or a test replaces, is an activity.
        let loading = ctx.step_with("load", page, |page| async move { load(page).await });
        rows += loading.retry(RetryPolicy::exponential().initial(Duration::from_millis(5))).await?.len();
        ctx.publish(PROGRESS, &Progress { pages: page, rows });
    }
    let batch = ctx.uuid(); // The same in every replay, as `ctx.now()` and `ctx.random()` are.
    Ok(format!("batch {batch} of {}: {rows} rows", machine.as_deref().unwrap_or("an unnamed machine")))
}

/// Page 2 cannot be loaded the first time.
async fn load(page: u32) -> ActivityResult<Vec<String>> {
    static IS_DOWN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    if page == 2 && IS_DOWN.swap(false, std::sync::atomic::Ordering::Relaxed) {
        return Err(ActivityError::new("server-down", "no answer"));
    }
    println!("loaded page {page}");
    Ok((1..=10).map(|row| format!("row {row} of page {page}")).collect())
}

#[tokio::main]
async fn main() -> Result<(), pgworkflows::Error> {
    let store = pgworkflows::connect("memory:").await?;
    let worker = Worker::builder(store.clone()).workflow::<import>().build()?;
    let client = Client::new(store);
    worker.run_while(show(&client)).await?
}

async fn show(client: &Client) -> Result<(), pgworkflows::Error> {
    let run = client.start::<import>(3).await?;
    // The stream may skip values that are replaced quickly, but never the last one.
    let mut changes = run.watch(PROGRESS);
    while let Some(Progress { pages, rows }) = changes.next().await.transpose()? {
        println!("seen: {pages} pages, {rows} rows");
    }
    println!("{}", run.result().await?);
    Ok(())
}
