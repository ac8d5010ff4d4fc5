//! What becomes of throughput as a system grows: each file is one question. It must not know how a load is driven.

mod fill;
mod neighbour;
mod question;
mod quiet;
mod recovery;
mod rows;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use pgworkflows::Client;

pub use self::question::{GrowthOptions, HELP, Question, read};
use crate::Failure;
use crate::drive::{Pace, drive};
use crate::ground::{Address, Ground, StoreKind};
use crate::measure::Figure;
use crate::workers::Workers;
use crate::workload::Workload;

/// Answers one question, with a throw-away server of its own unless there is a URL.
///
/// # Errors
/// Whatever goes wrong: a question is answered whole, or not at all.
pub async fn answer(options: &GrowthOptions) -> Result<Vec<Figure>, Failure> {
    let field = Field::open(options).await?;
    match options.question {
        Question::Closed => rows::closed(&field, 1).await,
        Question::Events => rows::closed(&field, 4).await,
        Question::Parked => rows::parked(&field).await,
        Question::Partitions => rows::partitions(&field).await,
        Question::Recovery => recovery::recovery(&field).await,
        Question::Snapshot => snapshot::snapshot(&field).await,
        Question::Neighbour => neighbour::neighbour(&field).await,
        Question::Idle => quiet::idle(&field).await,
    }
}

/// A database that grows, with what is asked about it.
struct Field<'o> {
    options: &'o GrowthOptions,
    ground: Ground,
    address: Address,
}

impl<'o> Field<'o> {
    async fn open(options: &'o GrowthOptions) -> Result<Self, Failure> {
        let ground = Ground::open(StoreKind::Postgres, options.url.as_deref(), &options.schema).await?;
        let address = ground.address.clone().ok_or("growth is measured in a database")?;
        Ok(Self { options, ground, address })
    }

    /// Runs per second of one-activity runs, the median of three rounds, by a worker that lives for so long.
    async fn runs_per_second(&self) -> Result<f64, Failure> {
        let load = Load::start(self).await?;
        let mut rates = [load.round().await?, load.round().await?, load.round().await?];
        load.stop().await?;
        rates.sort_unstable_by(f64::total_cmp);
        Ok(rates[1])
    }

    /// Measures before and after something grows, and compares.
    async fn compare(&self, grow: impl Future<Output = Result<(), Failure>>) -> Result<Vec<Figure>, Failure> {
        let before = self.runs_per_second().await?;
        grow.await?;
        let after = self.runs_per_second().await?;
        Ok(comparison(before, after))
    }
}

/// A rate as it was, as it became, and the share that is left.
fn comparison(before: f64, after: f64) -> Vec<Figure> {
    vec![
        Figure::new("before_runs_per_second", before),
        Figure::new("runs_per_second", after),
        Figure::new("share_percent", 100.0 * after / before),
    ]
}

/// A worker under load.
struct Load {
    workers: Workers,
    client: Client,
    runs: u64,
}

impl Load {
    /// Starts a worker, and waits until it has completed some runs.
    async fn start(field: &Field<'_>) -> Result<Self, Failure> {
        let workers = Workers::inside(&field.ground.store, 1)?;
        let client = Client::new(Arc::clone(&field.ground.store));
        let load = Self { workers, client, runs: field.options.runs };
        load.complete(load.runs.div_ceil(5)).await?;
        Ok(load)
    }

    /// The rate of one round, in runs per second.
    async fn round(&self) -> Result<f64, Failure> {
        Ok(self.runs as f64 / self.complete(self.runs).await?.as_secs_f64())
    }

    async fn complete(&self, runs: u64) -> Result<Duration, Failure> {
        let pace = Pace { runs, clients: 8, in_flight: 2_000 };
        Ok(drive(&self.client, Workload::Activities(1), pace).await?.took)
    }

    async fn stop(self) -> Result<(), Failure> {
        self.workers.stop().await
    }
}
