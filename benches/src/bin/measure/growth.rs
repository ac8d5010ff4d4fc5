//! How throughput changes as a system grows: each file answers one or more questions. It must not know how a load is
//! driven.

mod fill;
mod idle;
mod meanwhile;
mod recovery;
mod rows;

use std::sync::Arc;

use clap::{Args, Subcommand, value_parser};
use pgworkflows::Client;
use pgworkflows::store::Store;
use pgworkflows_benches::Failure;
use pgworkflows_benches::ground::{Address, Ground};
use pgworkflows_benches::workers::Workers;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::count;
use crate::drive::{Driven, Pace, drive};
use crate::figures::{Figure, print};
use crate::workload::Workload;

#[derive(Clone, Debug, Args)]
pub(crate) struct GrowthOptions {
    /// What is asked.
    #[command(subcommand)]
    question: Question,

    /// Runs per round of load.
    #[arg(long, global = true, value_name = "N", default_value = "20000", value_parser = count())]
    runs: u64,

    /// The database that grows.
    #[command(flatten)]
    address: Address,

    /// Prints one JSON object instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Question {
    /// Throughput over a log of closed runs.
    Closed {
        /// How many runs.
        #[arg(long, value_name = "N", default_value = "1000000", value_parser = count())]
        rows: u64,
        /// Activities in each of them.
        #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u32).range(1..=1_000))]
        activities: u32,
    },
    /// Throughput over parked runs with timers.
    Parked {
        /// How many runs.
        #[arg(long, value_name = "N", default_value = "1000000", value_parser = count())]
        rows: u64,
    },
    /// Throughput over a log of several partitions.
    Partitions {
        /// How many runs in all of them.
        #[arg(long, value_name = "N", default_value = "60000", value_parser = count())]
        rows: u64,
        /// How many partitions.
        #[arg(long, value_name = "N", default_value = "60", value_parser = value_parser!(u64).range(1..=1_000))]
        partitions: u64,
    },
    /// How long a worker takes to recover busy runs of 20 events, and their memory.
    Recovery {
        /// How many runs.
        #[arg(long, value_name = "N", default_value = "10000", value_parser = count())]
        rows: u64,
    },
    /// Throughput while a reader holds a snapshot open.
    Snapshot {
        /// For how long.
        #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = value_parser!(u64).range(1..=86_400))]
        seconds: u64,
    },
    /// Throughput while another client writes to the same database without a pause.
    Neighbour {
        /// For how long.
        #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = value_parser!(u64).range(1..=86_400))]
        seconds: u64,
    },
    /// What an idle worker costs.
    Idle {
        /// For how long it is watched, twice.
        #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = value_parser!(u64).range(1..=86_400))]
        seconds: u64,
    },
}

/// Answers one question, and prints the answer.
pub(crate) async fn run(options: &GrowthOptions) -> Result<(), Failure> {
    let ground = Ground::postgres(&options.address).await?;
    let address = ground.address.clone().ok_or("growth is measured in a database")?;
    let field = Field { runs: options.runs, ground, address };
    let figures = match options.question {
        Question::Closed { rows, activities } => rows::closed(&field, rows, activities).await?,
        Question::Parked { rows } => rows::parked(&field, rows).await?,
        Question::Partitions { rows, partitions } => rows::partitions(&field, rows, partitions).await?,
        Question::Recovery { rows } => recovery::recovery(&field, rows).await?,
        Question::Snapshot { seconds } => meanwhile::snapshot(&field, seconds).await?,
        Question::Neighbour { seconds } => meanwhile::neighbour(&field, seconds).await?,
        Question::Idle { seconds } => idle::idle(&field, seconds).await?,
    };
    print(options.json, (), &[figures])
}

/// A database that grows.
struct Field {
    /// Runs per round of load.
    runs: u64,
    ground: Ground,
    address: Address,
}

impl Field {
    /// Compares the database after `grow` with an empty schema of the same server. Their rounds alternate, because the
    /// speed of a machine changes from minute to minute.
    async fn compare(&self, grow: impl Future<Output = Result<(), Failure>>) -> Result<Vec<Figure>, Failure> {
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
    async fn load(&self) -> Result<Load, Failure> {
        Load::start(&self.ground.store, self.runs).await
    }

    async fn connect(&self) -> Result<PgConnection, Failure> {
        Ok(PgConnection::connect(&self.address.url).await?)
    }
}

/// How many rounds each side of a comparison has.
const ROUNDS: usize = 5;

/// The rate without something, the rate with it, and the remaining share.
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
        Ok(self.runs as f64 / self.complete(self.runs).await?.took.as_secs_f64())
    }

    async fn complete(&self, runs: u64) -> Result<Driven, Failure> {
        let pace = Pace { runs, clients: 8, in_flight: 2_000, second: None };
        drive(&self.client, Workload::ONE_ACTIVITY, pace).await
    }

    async fn stop(self) -> Result<(), Failure> {
        self.workers.stop().await
    }
}
