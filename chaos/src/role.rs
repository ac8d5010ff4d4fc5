//! What the processes do that this program starts as copies of itself: workers and clients. They must not know of faults.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use pgworkflows::sqlx::postgres::{PgPool, PgPoolOptions};
use pgworkflows::store::StoreError;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows::{Client, PostgresStore, Worker};
use pgworkflows_testkit::runtime::dice::Dice;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::hand::Hand;
use crate::journal::Journal;
use crate::workload::{self, KINDS, Kind, Task};

/// How many shards the queue has.
pub(crate) const SHARDS: u16 = 16;

/// How long a call to the store waits for its answer: so short that a black hole is noticed.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a shutdown waits for activities.
const GRACE: Duration = Duration::from_secs(2);

/// The pause before the server is asked again to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// How many connections of its own a process has to the tables of the users.
const USER_CONNECTIONS: u32 = 4;

/// The file in the directory of all processes that tells them to start no more runs.
pub(crate) const CALM: &str = "calm";

/// The options of a process.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProcessOptions {
    /// The database, through the proxy of this process.
    #[arg(long)]
    url: String,
    /// The name of this process.
    #[arg(long)]
    name: String,
    /// Where its journal is.
    #[arg(long)]
    directory: PathBuf,
    /// Decides what it does.
    #[arg(long)]
    seed: u64,
    /// How many runs it drives at a time.
    #[arg(long)]
    lanes: u64,
    /// How long the lease of a worker lasts.
    #[arg(long)]
    lease_ttl_millis: u64,
    /// The kinds of runs that it starts, by name.
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
}

/// Serves the queue until it is asked to end. Meanwhile it is also the client of some runs, which it starts without the
/// inbox if it owns their shards. The runs go on when it dies.
pub(crate) async fn work(options: ProcessOptions) -> anyhow::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    let store = tokio::select! {
        store = connect(&options) => store?,
        // A process that does not serve yet has nothing to hand over.
        _ = end.recv() => return Ok(()),
    };
    let users = users_of(&options)?;
    let worker = worker(store.clone(), &users).name(&options.name);
    let worker = worker.lease_ttl(Duration::from_millis(options.lease_ttl_millis)).build()?;
    // Its predecessors have used other tokens.
    let name = format!("{}.{}", options.name, std::process::id());
    let _lanes = start_lanes(&options, &name, store, users, true)?;
    let ended = worker.run_until(async {
        end.recv().await;
    });
    Ok(ended.await?)
}

/// Starts runs, a number at a time, and follows them to their end, until no more are to be started.
pub(crate) async fn ask(options: ProcessOptions) -> anyhow::Result<()> {
    let store = connect(&options).await?;
    let mut lanes = start_lanes(&options, &options.name, store, users_of(&options)?, false)?;
    while let Some(lane) = lanes.join_next().await {
        lane?;
    }
    Ok(())
}

/// Starts the tasks that each drive one run after another.
fn start_lanes(
    options: &ProcessOptions,
    name: &str,
    store: PostgresStore,
    users: PgPool,
    may_die: bool,
) -> anyhow::Result<JoinSet<()>> {
    let client = Client::builder(store).queue_shards(SHARDS).build()?;
    let journal = Arc::new(Journal::open(&options.directory.join(format!("{}.journal", options.name)))?);
    let hand = Hand { client, users, journal };
    let dice = Dice::new(options.seed);
    let lanes = (0..options.lanes).map(|lane| Lane {
        kinds: options.kinds.clone(),
        name: format!("{name}-{lane}"),
        hand: hand.clone(),
        dice: dice.fork(lane),
        may_die,
        calm: options.directory.join(CALM),
    });
    Ok(lanes.map(Lane::drive).collect())
}

/// One run after another.
struct Lane {
    name: String,
    kinds: Vec<String>,
    hand: Hand,
    dice: Dice,
    /// Whether only runs are started that end without their client.
    may_die: bool,
    /// Once this file exists, no more runs are started.
    calm: PathBuf,
}

impl Lane {
    async fn drive(mut self) {
        let mut number = 0;
        while !self.calm.exists() {
            let passes = |kind: &Kind| {
                (kind.ends_alone || !self.may_die) && self.kinds.iter().any(|name| name == kind.name)
            };
            let Some(kind) = workload::draw(&mut self.dice, passes) else { return };
            let token = format!("{}-{number}", self.name);
            let task = Task { hand: self.hand.clone(), dice: self.dice.fork(number), token };
            if let Err(error) = (kind.drive)(task).await {
                // The journal has it: it is a violation, and other runs go on.
                eprintln!("{}: {error:#}", kind.name);
            }
            number += 1;
            let pause = self.dice.time(Duration::from_millis(1), Duration::from_millis(100));
            tokio::time::sleep(pause).await;
        }
    }
}

/// A worker that knows all kinds of runs.
pub(crate) fn worker(store: PostgresStore, users: &PgPool) -> WorkerBuilder {
    let builder = Worker::builder(store.clone()).queue_shards(SHARDS).processors(2).shutdown_grace(GRACE);
    KINDS.iter().fold(builder, |builder, kind| (kind.register)(builder, users, &store))
}

/// Connects to the store, however long that takes.
async fn connect(options: &ProcessOptions) -> anyhow::Result<PostgresStore> {
    loop {
        // As in production: what a wrong append would write is to be found afterwards.
        let builder = PostgresStore::builder(&options.url).migrate(false).verify_appends(false);
        match builder.call_timeout(CALL_TIMEOUT).connect().await {
            Ok(store) => return Ok(store),
            Err(StoreError::Unavailable { .. }) => tokio::time::sleep(CONNECT_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The tables of the users. A connection is made when it is needed.
fn users_of(options: &ProcessOptions) -> anyhow::Result<PgPool> {
    let pool = PgPoolOptions::new().max_connections(USER_CONNECTIONS).acquire_timeout(CALL_TIMEOUT);
    Ok(pool.connect_lazy(&options.url)?)
}
