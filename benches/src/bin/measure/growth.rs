//! How throughput changes as a system grows: each file answers one or more questions. It must not know how a load is
//! driven.

mod database;
mod fill;
mod idle;
mod meanwhile;
mod recovery;
mod rows;

use clap::{Args, Subcommand, value_parser};
use pgworkflows_benches::Failure;
use pgworkflows_benches::store::{Address, MeasuredStore};

use self::database::GrowingDatabase;
use crate::count;
use crate::figures::print;

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
    /// What idle workers cost, each in a process of its own.
    Idle {
        /// How many there are.
        #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(1..=100))]
        workers: u64,

        /// For how long it is watched, twice.
        #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = value_parser!(u64).range(1..=86_400))]
        seconds: u64,
    },
}

/// Answers one question, and prints the answer.
pub(crate) async fn run(options: &GrowthOptions) -> Result<(), Failure> {
    let measured = MeasuredStore::at(&options.address).await?;
    let address = measured.address.clone().ok_or("growth is measured in a database")?;
    let database = GrowingDatabase { runs: options.runs, measured, address };
    let figures = match options.question {
        Question::Closed { rows, activities } => rows::closed(&database, rows, activities).await?,
        Question::Parked { rows } => rows::parked(&database, rows).await?,
        Question::Partitions { rows, partitions } => rows::partitions(&database, rows, partitions).await?,
        Question::Recovery { rows } => recovery::recovery(&database, rows).await?,
        Question::Snapshot { seconds } => meanwhile::snapshot(&database, seconds).await?,
        Question::Neighbour { seconds } => meanwhile::neighbour(&database, seconds).await?,
        Question::Idle { workers, seconds } => idle::idle(&database, workers, seconds).await?,
    };
    print(options.json, (), &[figures])
}
