//! Throughput over a database that is full: of closed runs, of events, of parked runs, of partitions.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use pgworkflows::store::{Frame, Load, OpenState, Store};
use pgworkflows::{Client, MemoryStore, RunId, Workflow};
use pgworkflows_benches::Failure;
use pgworkflows_benches::definitions::{Activities, Timers};
use pgworkflows_benches::workers::{Serves, Workers};

use super::database::GrowingDatabase;
use super::fill::{Filler, JUST_NOW, Template, TemplateRow};
use crate::figures::Figure;

/// How wide partitions are by default: 30 days, in milliseconds.
const PARTITION_MILLIS: i64 = 30 * 24 * 3_600 * 1_000;

/// How many deadlines the parked runs share between them.
const DEADLINES: i64 = 50;

/// Over closed runs of `activities` activities each.
pub(super) async fn closed(
    database: &GrowingDatabase,
    rows: u64,
    activities: u32,
) -> Result<Vec<Figure>, Failure> {
    let template = completed(activities).await?;
    let mut filler = Filler::connect(database).await?;
    let mut figures = database
        .compare(async {
            filler.copy(&template, rows, JUST_NOW).await?;
            filler.settle().await
        })
        .await?;
    figures.push(Figure::new("frames_in_log", filler.frames().await?));
    Ok(figures)
}

/// Over runs that sleep for a month and some minutes, until long after the measurement.
pub(super) async fn parked(database: &GrowingDatabase, rows: u64) -> Result<Vec<Figure>, Failure> {
    let mut filler = Filler::connect(database).await?;
    let each = rows.div_ceil(DEADLINES as u64);
    let mut figures = database
        .compare(async {
            for number in 0..DEADLINES {
                let due = Utc::now() + TimeDelta::days(30) + TimeDelta::minutes(number);
                let age = JUST_NOW + number * i64::try_from(each)?;
                filler.copy(&sleeping(due.timestamp_micros()).await?, each, age).await?;
            }
            filler.settle().await
        })
        .await?;
    figures.push(Figure::new("parked_runs", each as f64 * DEADLINES as f64));
    Ok(figures)
}

/// Over a log of several partitions, with the runs spread evenly over them.
pub(super) async fn partitions(
    database: &GrowingDatabase,
    rows: u64,
    partitions: u64,
) -> Result<Vec<Figure>, Failure> {
    let template = completed(1).await?;
    let mut filler = Filler::connect(database).await?;
    let mut figures = database
        .compare(async {
            for number in 0..i64::try_from(partitions)? {
                let age = JUST_NOW + number * PARTITION_MILLIS;
                filler.copy(&template, rows.div_ceil(partitions), age).await?;
            }
            filler.settle().await
        })
        .await?;
    figures.push(Figure::new("partitions", partitions as f64));
    Ok(figures)
}

/// A completed run with that many activities.
async fn completed(activities: u32) -> Result<Template, Failure> {
    let (store, run) = execute::<Activities>(activities, true).await?;
    let description = store.query().describe(run).await?;
    let closed = description.and_then(|run| run.closed).ok_or("the recorded run is not closed")?;
    let row = TemplateRow::Closed(Box::new(closed));
    Ok(Template { workflow: Activities::NAME, frames: frames(&*store, run).await?, row })
}

/// A run that sleeps until `due`, in microseconds since 1970.
async fn sleeping(due: i64) -> Result<Template, Failure> {
    let (store, run) = execute::<Timers>(due, false).await?;
    let row = TemplateRow::Open { state: OpenState::Parked, wake_at: Some(due) };
    Ok(Template { workflow: Timers::NAME, frames: frames(&*store, run).await?, row })
}

/// Executes one run in memory, to its end or until it is parked.
async fn execute<W: Workflow>(input: W::Input, ends: bool) -> Result<(Arc<dyn Store>, RunId), Failure> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let workers = Workers::inside(&store, 1, Serves::default())?;
    let handle = Client::new(Arc::clone(&store)).start::<W>(input).await?;
    if ends {
        handle.result().await?;
    }
    let is_parked = async || -> Result<bool, Failure> {
        let description = store.query().describe(handle.run_id()).await?;
        Ok(description.and_then(|run| run.open).is_some_and(|row| row.state == OpenState::Parked))
    };
    while !ends && !is_parked().await? {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    workers.stop().await?;
    Ok((store, handle.run_id()))
}

async fn frames(store: &dyn Store, run: RunId) -> Result<Vec<Frame>, Failure> {
    let load = Load { runs: vec![run], after: None, bytes: usize::MAX };
    Ok(store.query().load(&load).await?.histories.remove(0).frames)
}
