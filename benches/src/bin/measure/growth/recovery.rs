//! How long a worker takes to recover runs that were busy when their owner died, and how much memory they take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgworkflows::Worker;
use pgworkflows::prelude::*;
use pgworkflows::store::OpenState;
use pgworkflows::worker::WorkerMonitor;
use pgworkflows_benches::Failure;
use pgworkflows_benches::definitions::{Activities, Double};
use pgworkflows_benches::histories::{self, Kind};
use tokio::sync::oneshot;

use super::database::GrowingDatabase;
use super::fill::{Filler, JUST_NOW, Template, TemplateRow};
use crate::figures::{Figure, millis};
use crate::process::memory;

/// Of each run; the last is an activity without an outcome.
const EVENTS: u32 = 20;

/// Before a worker is stopped: if its claim is still in flight, its shards stay leased until the lease expires.
const SETTLING: Duration = Duration::from_secs(1);

/// A recovery that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn recovery(database: &GrowingDatabase, rows: u64) -> Result<Vec<Figure>, Failure> {
    // The first worker creates the queue; its time is that of a start without runs.
    let (startup, _) = recover(database, 0).await?;
    let history = tokio::task::spawn_blocking(|| histories::record(Kind::Activities, EVENTS)).await??;
    let template = Template {
        workflow: Activities::NAME,
        frames: history.frames,
        row: TemplateRow::Open { state: OpenState::Busy, wake_at: None },
    };
    let mut filler = Filler::connect(database).await?;
    filler.copy(&template, rows, JUST_NOW).await?;
    filler.settle().await?;
    let (took, grown) = recover(database, rows).await?;
    Ok(vec![
        Figure::new("busy_runs", rows as f64),
        Figure::new("startup_ms", millis(startup)),
        Figure::new("recovery_ms", millis(took.saturating_sub(startup))),
        Figure::new("memory_per_run_bytes", grown as f64 / rows as f64),
    ])
}

/// Starts a worker and waits until it has recovered `runs` runs, none of which continues: their activity never ends.
/// Returns the time from the worker's start, and by how many bytes this process grew.
async fn recover(database: &GrowingDatabase, runs: u64) -> Result<(Duration, u64), Failure> {
    let worker = Worker::builder(Arc::clone(&database.measured.store))
        .workflow::<Activities>()
        .activity(NeverEnding)
        // All of them are executed here, and none becomes a task.
        .activities_max(usize::try_from(runs)?.max(1))
        .shutdown_grace(Duration::ZERO)
        .build()?;
    let monitor = worker.monitor();
    let (stop, stopped) = oneshot::channel::<()>();
    let own_process = std::process::id();
    let before = memory(own_process);
    let began = Instant::now();
    let ended = tokio::spawn(worker.run_until(async {
        drop(stopped.await);
    }));
    wait_for(database, &monitor, runs).await?;
    let recovered = (began.elapsed(), memory(own_process).saturating_sub(before));
    tokio::time::sleep(SETTLING).await;
    drop(stop);
    ended.await??;
    Ok(recovered)
}

/// Waits until all shards are owned and `runs` runs are in memory.
async fn wait_for(database: &GrowingDatabase, monitor: &WorkerMonitor, runs: u64) -> Result<(), Failure> {
    let began = Instant::now();
    // False while there is no queue yet.
    let owned = "select coalesce(bool_and(lease is not null), false) from";
    let owned = format!("{owned} {}.shards", database.address.schema);
    let mut connection = database.connect().await?;
    while began.elapsed() < PATIENCE {
        if monitor.live_runs() as u64 >= runs {
            let owned = sqlx::query_scalar(sqlx::AssertSqlSafe(owned.clone()));
            if owned.fetch_one(&mut connection).await? {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err(format!("only {} of {runs} runs were recovered within {PATIENCE:?}", monitor.live_runs()).into())
}

/// The activity of the recovered runs, which never ends.
struct NeverEnding;

#[async_trait]
impl Activity for NeverEnding {
    const NAME: &'static str = Double::NAME;
    type Input = u64;
    type Output = u64;

    async fn execute(&self, _ctx: ActivityContext, _number: u64) -> ActivityResult<u64> {
        std::future::pending().await
    }
}
