//! How long a worker takes to bring back runs that were busy when their owner died, and what they take in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgworkflows::Worker;
use pgworkflows::prelude::*;
use pgworkflows::store::OpenState;
use pgworkflows::worker::WorkerMonitor;
use tokio::sync::oneshot;

use super::Field;
use super::fill::{Copies, Filler, JUST_NOW, Template, TemplateRow};
use crate::Failure;
use crate::definitions::{Activities, Double};
use crate::histories::{self, Kind};
use crate::measure::{Figure, memory, millis};

/// Of each run, the last an activity that has no outcome yet.
const EVENTS: u32 = 20;

/// Within this time a recovery succeeds or is given up.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn recovery(field: &Field<'_>) -> Result<Vec<Figure>, Failure> {
    // A worker that came up before has created the queue, and knows the way.
    let idle = recover(field, 0).await?;
    let history = tokio::task::spawn_blocking(|| histories::record(Kind::Activities, EVENTS)).await??;
    let template = Template {
        workflow: Activities::NAME,
        events: history.events,
        row: TemplateRow::Open { state: OpenState::Busy, wake_at_micros: None },
    };
    let mut filler = Filler::connect(&field.address).await?;
    filler.copy(&template, &Copies { count: field.options.rows(), age_millis: JUST_NOW }).await?;
    filler.settle().await?;
    let busy = recover(field, field.options.rows()).await?;
    let grown = busy.memory.saturating_sub(busy.memory_before) as f64;
    Ok(vec![
        Figure::new("busy_runs", field.options.rows() as f64),
        Figure::new("startup_ms", millis(idle.took)),
        Figure::new("recovery_ms", millis(busy.took.saturating_sub(idle.took))),
        Figure::new("memory_per_run_bytes", grown / field.options.rows() as f64),
    ])
}

struct Recovered {
    /// From the worker's start until it had all runs.
    took: Duration,
    /// Resident memory of this process, in bytes.
    memory_before: u64,
    memory: u64,
}

/// Has a worker come up and bring back so many runs. None of them goes on: their activity never ends.
async fn recover(field: &Field<'_>, runs: u64) -> Result<Recovered, Failure> {
    let worker = Worker::builder(Arc::clone(&field.ground.store))
        .workflow::<Activities>()
        .activity(Held)
        .shutdown_grace(Duration::ZERO)
        .build()?;
    let monitor = worker.monitor();
    let (stop, stopped) = oneshot::channel::<()>();
    let memory_before = memory("self");
    let began = Instant::now();
    let ended = tokio::spawn(worker.run_until(async {
        drop(stopped.await);
    }));
    wait_for(field, &monitor, runs).await?;
    let (took, memory) = (began.elapsed(), memory("self"));
    drop(stop);
    ended.await??;
    Ok(Recovered { took, memory_before, memory })
}

/// Waits until all shards are owned and so many runs are in memory.
async fn wait_for(field: &Field<'_>, monitor: &WorkerMonitor, runs: u64) -> Result<(), Failure> {
    let began = Instant::now();
    let schema = &field.address.schema;
    let free = format!("select count(*) from {schema}.shards where lease is null");
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&field.address.url).await?;
    while began.elapsed() < PATIENCE {
        if monitor.live_runs() as u64 >= runs {
            let free: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(free.clone())).fetch_one(&mut connection).await?;
            if free == 0 {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err(format!("only {} of {runs} runs came back within {PATIENCE:?}", monitor.live_runs()).into())
}

/// The activity of the filled runs, which never ends.
struct Held;

#[async_trait]
impl Activity for Held {
    const NAME: &'static str = Double::NAME;
    type Input = u64;
    type Output = u64;

    async fn execute(&self, _ctx: ActivityContext, _number: u64) -> ActivityResult<u64> {
        std::future::pending().await
    }
}
