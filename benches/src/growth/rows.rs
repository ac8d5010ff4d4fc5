//! Throughput over a database that is full: of closed runs, of events, of parked runs, of partitions.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use pgworkflows::store::{EventRecord, OpenState, Store};
use pgworkflows::{Client, MemoryStore, RunId, Workflow};

use super::Field;
use super::fill::{Copies, FAR, Filler, JUST_NOW, Template, TemplateRow};
use crate::Failure;
use crate::definitions::{Activities, Timers};
use crate::measure::Figure;
use crate::workers::Workers;

/// How wide partitions are by default: 30 days, in milliseconds.
const PARTITION_MILLIS: i64 = 30 * 24 * 3_600 * 1_000;

/// How many deadlines the parked runs share between them.
const DEADLINES: u64 = 50;

/// Over runs that are over, of so many activities each.
pub(super) async fn closed(field: &Field<'_>, activities: u32) -> Result<Vec<Figure>, Failure> {
    let template = completed(activities).await?;
    let mut filler = Filler::connect(&field.address).await?;
    let mut figures = field
        .compare(async {
            filler.copy(&template, &Copies { count: field.options.rows(), age_millis: JUST_NOW }).await?;
            filler.settle().await
        })
        .await?;
    figures.push(Figure::new("events_in_log", filler.events().await?));
    Ok(figures)
}

/// Over runs that sleep until some day next month.
pub(super) async fn parked(field: &Field<'_>) -> Result<Vec<Figure>, Failure> {
    let mut filler = Filler::connect(&field.address).await?;
    let each = field.options.rows().div_ceil(DEADLINES);
    let mut figures = field
        .compare(async {
            for number in 0..DEADLINES {
                let minutes = i64::try_from(number)? * 60_000_000;
                let due = Utc::now().timestamp_micros() + i64::try_from(FAR.as_micros())? + minutes;
                let age_millis = JUST_NOW + i64::try_from(number * each)?;
                filler.copy(&sleeping(due).await?, &Copies { count: each, age_millis }).await?;
            }
            filler.settle().await
        })
        .await?;
    figures.push(Figure::new("parked_runs", (each * DEADLINES) as f64));
    Ok(figures)
}

/// Over a log of so many partitions, the runs spread evenly over them.
pub(super) async fn partitions(field: &Field<'_>) -> Result<Vec<Figure>, Failure> {
    let (template, partitions) = (completed(1).await?, field.options.partitions);
    let mut filler = Filler::connect(&field.address).await?;
    let mut figures = field
        .compare(async {
            for number in 0..partitions {
                let age_millis = JUST_NOW + i64::try_from(number)? * PARTITION_MILLIS;
                let count = field.options.rows().div_ceil(partitions);
                filler.copy(&template, &Copies { count, age_millis }).await?;
            }
            filler.settle().await
        })
        .await?;
    figures.push(Figure::new("partitions", partitions as f64));
    Ok(figures)
}

/// A run of so many activities that is over.
async fn completed(activities: u32) -> Result<Template, Failure> {
    let (store, run) = execute::<Activities>(activities, true).await?;
    let description = store.query().describe(run).await?;
    let closed = description.and_then(|run| run.closed).ok_or("the recorded run is not over")?;
    let events = events(&*store, run).await?;
    Ok(Template { workflow: Activities::NAME, events, row: TemplateRow::Closed(Box::new(closed)) })
}

/// A run that sleeps until then, in microseconds since 1970.
async fn sleeping(due: i64) -> Result<Template, Failure> {
    let (store, run) = execute::<Timers>(due, false).await?;
    let row = TemplateRow::Open { state: OpenState::Parked, wake_at_micros: Some(due) };
    Ok(Template { workflow: Timers::NAME, events: events(&*store, run).await?, row })
}

/// Executes one run in memory, to its end or until it is parked.
async fn execute<W: Workflow>(input: W::Input, ends: bool) -> Result<(Arc<dyn Store>, RunId), Failure> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let workers = Workers::inside(&store, 1)?;
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

async fn events(store: &dyn Store, run: RunId) -> Result<Vec<EventRecord>, Failure> {
    Ok(store.query().history(run, None, 1_000).await?)
}
