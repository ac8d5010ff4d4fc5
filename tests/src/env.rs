//! The environment of one test: an empty store, a client, and workers. It must not know what is tested.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows::store::Store;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows::{Client, MemoryStore, PostgresStore, SqliteStore, Worker};
use pgworkflows_pg_harness::{Database, Postgres};

use crate::directory::Directory;
use crate::outage::Outage;
use crate::workers::{KillableWorker, RunningWorker};

/// How many shards the queue has: so few that runs share shards, and more than one.
const SHARDS: u16 = 8;

/// How long one test may take. Only a test that waits for something that never happens takes that long.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Where the runs of a test are stored.
#[derive(Clone, Debug)]
pub enum Backend {
    /// In this process.
    Memory(MemoryStore),
    /// In a file of its own, which is deleted with the last clone.
    Sqlite(Arc<Directory>),
    /// In a database of its own, which is dropped with the last clone.
    Postgres(Arc<Database>),
}

impl Backend {
    /// An empty memory store.
    pub async fn memory() -> Self {
        Self::Memory(MemoryStore::new())
    }

    /// No file yet.
    pub async fn sqlite() -> Self {
        Self::Sqlite(Arc::new(Directory::new()))
    }

    /// An empty database.
    pub async fn postgres() -> Self {
        Self::Postgres(Arc::new(Postgres::shared().create_database().unwrap()))
    }

    /// A store over this backend, for the current runtime.
    async fn connect(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Sqlite(directory) => Arc::new(SqliteStore::open(directory.file("runs.db")).await.unwrap()),
            Self::Postgres(database) => Arc::new(PostgresStore::connect(database.url()).await.unwrap()),
        }
    }
}

/// The environment of one test: a store of its own, and a client.
#[derive(Debug)]
pub struct Env {
    backend: Backend,
    store: Arc<dyn Store>,
    /// A client of the store.
    pub client: Client,
}

impl Env {
    async fn new(backend: Backend) -> Self {
        let store = backend.connect().await;
        let client = Client::builder(Arc::clone(&store)).queue_shards(SHARDS).build().unwrap();
        Self { backend, store, client }
    }

    /// How many runs are a large number for this store.
    pub fn many(&self) -> u32 {
        match self.backend {
            Backend::Memory(_) => 100_000,
            Backend::Sqlite(_) | Backend::Postgres(_) => 10_000,
        }
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Another client of the store. Whoever comes first creates the queue, so it asks for the same number of shards.
    pub fn another_client(&self) -> Client {
        Client::builder(self.store()).queue_shards(SHARDS).build().unwrap()
    }

    /// A worker to be configured. Its lease is so long that another worker takes over only after a shutdown.
    pub fn worker(&self) -> WorkerBuilder {
        configured(Worker::builder(self.store()))
    }

    /// A worker that owns no runs, to be configured: it executes tasks.
    pub fn executor(&self) -> WorkerBuilder {
        executing(Worker::builder(self.store()))
    }

    /// A worker, and the switch that makes its store unavailable.
    pub fn worker_with_outage(&self) -> (WorkerBuilder, Outage) {
        let outage = Outage::default();
        (configured(Worker::builder(outage.over(self.store()))), outage)
    }

    /// Starts a worker on its own threads.
    pub fn run(&self, worker: WorkerBuilder) -> RunningWorker {
        RunningWorker::start(worker.build().unwrap())
    }

    /// Starts a worker that can be killed as a process can: nothing of it continues, and nothing is handed over.
    /// Its lease is as short as leases may be.
    pub async fn run_killable(
        &self,
        configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder + Send + 'static,
    ) -> KillableWorker {
        self.run_killable_with(configured, configure).await
    }

    /// Starts a worker that owns no runs, and that can be killed likewise.
    pub async fn run_killable_executor(
        &self,
        configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder + Send + 'static,
    ) -> KillableWorker {
        self.run_killable_with(executing, configure).await
    }

    async fn run_killable_with(
        &self,
        settings: fn(WorkerBuilder) -> WorkerBuilder,
        configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder + Send + 'static,
    ) -> KillableWorker {
        let backend = self.backend.clone();
        KillableWorker::start(async move || {
            let builder = settings(Worker::builder(backend.connect().await));
            configure(builder.lease_ttl(Duration::from_secs(1))).build().unwrap()
        })
        .await
    }
}

/// The settings of every worker that owns no runs.
fn executing(builder: WorkerBuilder) -> WorkerBuilder {
    builder.queue_shards(SHARDS).heartbeat_interval(Duration::from_millis(200))
}

/// The settings of every worker here.
fn configured(builder: WorkerBuilder) -> WorkerBuilder {
    builder.processors(2).queue_shards(SHARDS).heartbeat_interval(Duration::from_millis(200))
}

/// Runs a test in an environment of its own.
///
/// # Panics
/// Panics if the test does, or if it does not end in time.
pub fn check<B: Future<Output = Backend>, T: Future<Output = ()>>(
    backend: impl FnOnce() -> B,
    test: impl FnOnce(Env) -> T,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let env = Env::new(backend().await).await;
        let ended = tokio::time::timeout(TIMEOUT, test(env)).await;
        assert!(ended.is_ok(), "the test has not ended after {TIMEOUT:?}");
    });
}

/// Makes a test of each promise on each store. A promise is an `async fn(Env)` of the same module.
#[macro_export]
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        $crate::promises!(@on memory: $($promise),+);
        $crate::promises!(@on sqlite: $($promise),+);
        $crate::promises!(@on postgres: $($promise),+);
    };
    (@on $backend:ident: $($promise:ident),+) => {
        mod $backend {
            $(
                #[test]
                fn $promise() {
                    $crate::check($crate::Backend::$backend, super::$promise);
                }
            )+
        }
    };
}
