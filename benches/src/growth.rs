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
use pgworkflows::store::Store;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

pub use self::question::{GrowthOptions, Question};
use crate::Failure;
use crate::arguments::Database;
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
        let Database { url, schema } = &options.database;
        let ground = Ground::open(StoreKind::Postgres, url.as_deref(), schema).await?;
        let address = ground.address.clone().ok_or("growth is measured in a database")?;
        Ok(Self { options, ground, address })
    }

    /// Compares what something has grown with an empty schema of the same server. By turns, because what a machine does
    /// per second changes from minute to minute.
    async fn compare(&self, grow: impl Future<Output = Result<(), Failure>>) -> Result<Vec<Figure>, Failure> {
        // What grows needs a queue.
        self.load().await?.stop().await?;
        grow.await?;
        // A name of its own: it is dropped afterwards, in whatever database this is.
        let schema = format!("{}_empty_{}", self.address.schema, std::process::id());
        let empty = Address { schema: schema.clone(), ..self.address.clone() }.open().await?;
        let (empty, grown) = (Load::start(&empty, self.options.runs).await?, self.load().await?);
        let mut rates = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            rates[0].push(empty.round().await?);
            rates[1].push(grown.round().await?);
        }
        empty.stop().await?;
        grown.stop().await?;
        let drop = AssertSqlSafe(format!("drop schema {schema} cascade"));
        sqlx::query(drop).execute(&mut PgConnection::connect(&self.address.url).await?).await?;
        let [without, with] = rates.map(median);
        Ok(comparison(without, with))
    }

    /// A worker under the question's load.
    async fn load(&self) -> Result<Load, Failure> {
        Load::start(&self.ground.store, self.options.runs).await
    }
}

/// How many rounds a comparison has, each of both sides.
const ROUNDS: usize = 5;

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// A rate without something, the rate with it, and the share that is left.
fn comparison(without: f64, with: f64) -> Vec<Figure> {
    vec![
        Figure::new("runs_per_second_without", without),
        Figure::new("runs_per_second", with),
        Figure::new("share_percent", 100.0 * with / without),
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
    async fn start(store: &Arc<dyn Store>, runs: u64) -> Result<Self, Failure> {
        let workers = Workers::inside(store, 1)?;
        let load = Self { workers, client: Client::new(Arc::clone(store)), runs };
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
