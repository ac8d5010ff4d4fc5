//! Starts runs as fast as they complete, a limited number at a time. It must not know what they cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use pgworkflows::Client;
use pgworkflows::trace::tracing::{Instrument, info_span};
use pgworkflows_benches::Failure;

use crate::workload::{Seen, Workload};

/// How many runs, and how many of them at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Runs in all.
    pub(crate) runs: u64,
    /// Tasks that start them.
    pub(crate) clients: u64,
    /// Runs that are in flight at a time, over all clients.
    pub(crate) in_flight: u64,
    /// The timers of the runs are due within the second that begins then, in microseconds since 1970.
    pub(crate) second: Option<i64>,
}

/// What the clients saw.
#[derive(Debug)]
pub(crate) struct Driven {
    /// From the first start to the last result.
    pub(crate) took: Duration,
    /// One entry per run, in no order.
    pub(crate) seen: Vec<Seen>,
}

/// Completes runs of one workload. The first error that a client reports fails them all: a load with failures has no
/// figures.
pub(crate) async fn drive(client: &Client, workload: Workload, pace: Pace) -> Result<Driven, Failure> {
    let (next, completed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let clients = pace.clients.min(pace.runs).max(1);
    let each = usize::try_from(pace.in_flight.div_ceil(clients).max(1))?;
    let tasks = (0..clients).map(|_| {
        let (client, next, completed) = (client.clone(), Arc::clone(&next), Arc::clone(&completed));
        tokio::spawn(async move {
            // One loop for each run in flight: a task per run would be a part of what is measured.
            let one_after_another = async || {
                let mut seen = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= pace.runs {
                        return Ok::<_, Failure>(seen);
                    }
                    let due = pace.second.map(|second| second + (number * 1_000_000 / pace.runs) as i64);
                    // As the request of a user would be in one.
                    let span = info_span!("request");
                    seen.push(workload.complete(&client, due).instrument(span).await?);
                    completed.fetch_add(1, Ordering::Relaxed);
                }
            };
            try_join_all((0..each).map(|_| one_after_another())).await
        })
    });
    let progress = tokio::spawn(progress(Arc::clone(&completed), pace.runs));
    let mut seen = Vec::new();
    for of_client in try_join_all(tasks).await? {
        seen.extend(of_client?.into_iter().flatten());
    }
    progress.abort();
    Ok(Driven { took: began.elapsed(), seen })
}

/// Prints a line per second, until it is aborted.
async fn progress(completed: Arc<AtomicU64>, runs: u64) {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = completed.load(Ordering::Relaxed);
        eprintln!("{now} of {runs} runs, {} in the last second", now - before);
        before = now;
    }
}
