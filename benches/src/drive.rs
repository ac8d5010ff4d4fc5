//! Starts runs as fast as they are completed, so many at a time. It must not know what they cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use pgworkflows::{Client, Error};

use crate::Failure;
use crate::workload::{Seen, Workload};

/// How many runs, and how many of them at a time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Runs in all.
    pub runs: u64,
    /// Tasks that start them.
    pub clients: u64,
    /// Runs that are under way at a time, over all clients.
    pub in_flight: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Driven {
    /// From the first start to the last result.
    pub took: Duration,
    /// What the clients saw of each run, in no order.
    pub seen: Vec<Seen>,
}

/// Completes runs of one workload.
///
/// # Errors
/// The first error that a client reports: a load with failures has no figures.
pub async fn drive(client: &Client, workload: Workload, pace: Pace) -> Result<Driven, Failure> {
    drive_each(client, pace, move |_| workload).await
}

/// Completes runs of which each may be another workload, by its number.
///
/// # Errors
/// As [`drive`].
pub async fn drive_each(
    client: &Client,
    pace: Pace,
    workload: impl Fn(u64) -> Workload + Clone + Send + Sync + 'static,
) -> Result<Driven, Failure> {
    let (next, completed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let clients = pace.clients.min(pace.runs).max(1);
    let each = usize::try_from(pace.in_flight.div_ceil(clients).max(1))?;
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (client, workload) = (client.clone(), workload.clone());
            let (next, completed) = (Arc::clone(&next), Arc::clone(&completed));
            let runs = std::iter::from_fn(move || {
                let number = next.fetch_add(1, Ordering::Relaxed);
                (number < pace.runs).then_some(number)
            });
            tokio::spawn(async move {
                futures::stream::iter(runs)
                    .map(|number| {
                        let (client, workload, completed) = (&client, workload(number), &completed);
                        async move {
                            let seen = workload.complete(client).await?;
                            completed.fetch_add(1, Ordering::Relaxed);
                            Ok::<Seen, Error>(seen)
                        }
                    })
                    .buffer_unordered(each)
                    .try_collect::<Vec<Seen>>()
                    .await
            })
        })
        .collect();
    let progress = tokio::spawn(progress(completed, pace.runs));
    let mut seen = Vec::with_capacity(usize::try_from(pace.runs)?);
    for task in futures::future::join_all(tasks).await {
        seen.extend(task??);
    }
    let took = began.elapsed();
    progress.abort();
    Ok(Driven { took, seen })
}

/// A line per second, until it is aborted.
async fn progress(completed: Arc<AtomicU64>, runs: u64) {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = completed.load(Ordering::Relaxed);
        eprintln!("{now} of {runs} runs, {} in the last second", now - before);
        before = now;
    }
}
