//! The database that grows, and its comparison with an empty one. It must not know what it is filled with.

use std::sync::Arc;

use pgworkflows::Client;
use pgworkflows::store::Store;
use pgworkflows_benches::Failure;
use pgworkflows_benches::store::{Address, MeasuredStore};
use pgworkflows_benches::workers::{Serves, Workers};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::drive::{Driven, Pace, drive};
use crate::figures::Figure;
use crate::workload::Workload;

/// A database that grows.
pub(super) struct GrowingDatabase {
    /// Runs per round of load.
    pub(super) runs: u64,
    pub(super) measured: MeasuredStore,
    pub(super) address: Address,
}

impl GrowingDatabase {
    /// Compares the database after `grow` with an empty schema of the same server. Their rounds alternate, because the
    /// speed of a machine changes from minute to minute.
    pub(super) async fn compare(
        &self,
        grow: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Vec<Figure>, Failure> {
        // `grow` needs a queue.
        self.load().await?.stop().await?;
        grow.await?;
        // A unique name, because the schema is dropped afterwards, in whatever database this is.
        let schema = format!("{}_empty_{}", self.address.schema, std::process::id());
        let empty = Address { schema: schema.clone(), ..self.address.clone() }.open().await?;
        let (empty, grown) = (Load::start(&empty, self.runs).await?, self.load().await?);
        let mut rates = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            rates[0].push(empty.round().await?);
            rates[1].push(grown.round().await?);
        }
        empty.stop().await?;
        grown.stop().await?;
        let drop = AssertSqlSafe(format!("drop schema {schema} cascade"));
        sqlx::query(drop).execute(&mut self.connect().await?).await?;
        let [without, with] = rates.map(|mut rates| {
            rates.sort_unstable_by(f64::total_cmp);
            rates[ROUNDS / 2]
        });
        Ok(comparison(without, with))
    }

    /// A worker under load.
    pub(super) async fn load(&self) -> Result<Load, Failure> {
        Load::start(&self.measured.store, self.runs).await
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, Failure> {
        Ok(PgConnection::connect(&self.address.url).await?)
    }
}

/// How many rounds each side of a comparison has.
const ROUNDS: usize = 5;

/// The rate without something, the rate with it, and the remaining share.
pub(super) fn comparison(without: f64, with: f64) -> Vec<Figure> {
    vec![
        Figure::new("runs_per_second_without", without),
        Figure::new("runs_per_second", with),
        Figure::new("share_percent", 100.0 * with / without),
    ]
}

/// A worker under load.
pub(super) struct Load {
    workers: Workers,
    client: Client,
    runs: u64,
}

impl Load {
    /// Starts a worker, and waits until it has completed some runs.
    async fn start(store: &Arc<dyn Store>, runs: u64) -> Result<Self, Failure> {
        let workers = Workers::inside(store, 1, Serves::default())?;
        let load = Self { workers, client: Client::new(Arc::clone(store)), runs };
        load.complete(load.runs.div_ceil(5)).await?;
        Ok(load)
    }

    /// The rate of one round, in runs per second.
    pub(super) async fn round(&self) -> Result<f64, Failure> {
        Ok(self.runs as f64 / self.complete(self.runs).await?.took.as_secs_f64())
    }

    async fn complete(&self, runs: u64) -> Result<Driven, Failure> {
        let pace = Pace { runs, clients: 8, in_flight: 2_000, second: None };
        drive(&self.client, Workload::ONE_ACTIVITY, pace).await
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        self.workers.stop().await
    }
}
