//! A store of one's own with a client, and what makes workers for it. It must not know what is promised.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows::store::Store;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows::{Client, MemoryStore, PostgresStore, Worker};
use pgworkflows_pg_harness::{Database, Postgres};

use crate::outage::Outage;
use crate::workers::{Mortal, Working};

/// How many shards a bed's queue has: enough that runs meet and miss one another, few enough to be quick.
const SHARDS: u16 = 8;

/// How long one promise may take: it waits for conditions, and one that never comes ends here.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where a bed keeps its runs.
#[derive(Clone, Debug)]
pub enum Place {
    /// In this process.
    Memory(MemoryStore),
    /// In a database of its own, which is dropped with the last of its users.
    Postgres(Arc<Database>),
}

impl Place {
    /// An empty memory store.
    pub async fn memory() -> Self {
        Self::Memory(MemoryStore::new())
    }

    /// An empty database.
    pub async fn postgres() -> Self {
        Self::Postgres(Arc::new(Postgres::shared().create_database().unwrap()))
    }

    /// How many runs are many here.
    pub fn many(&self) -> usize {
        match self {
            Self::Memory(_) => 100_000,
            Self::Postgres(_) => 10_000,
        }
    }

    /// A store of the current runtime, with all that the place keeps.
    pub async fn connect(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Postgres(database) => Arc::new(PostgresStore::connect(database.url()).await.unwrap()),
        }
    }
}

/// A store of one's own, and a client of it.
#[derive(Debug)]
pub struct Bed {
    place: Place,
    store: Arc<dyn Store>,
    /// The client.
    pub client: Client,
}

impl Bed {
    /// A bed on that place.
    pub async fn new(place: Place) -> Self {
        let store = place.connect().await;
        let client = Client::builder(Arc::clone(&store)).queue_shards(SHARDS).build().unwrap();
        Self { place, store, client }
    }

    /// How many runs are many here.
    pub fn many(&self) -> usize {
        self.place.many()
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// A worker to be put together. Its lease is long: nothing but its end lets another take over.
    pub fn worker(&self) -> WorkerBuilder {
        settled(Worker::builder(self.store()))
    }

    /// A worker whose store can be taken away.
    pub fn fragile_worker(&self) -> (WorkerBuilder, Outage) {
        let outage = Outage::default();
        (settled(Worker::builder(outage.over(self.store()))), outage)
    }

    /// Has a worker work, on threads of its own, until it is stopped.
    pub fn work(&self, worker: WorkerBuilder) -> Working {
        Working::start(worker.build().unwrap())
    }

    /// Has a worker work that can be killed, as a process is: nothing of it goes on, and nothing is handed over.
    /// Its lease is as short as leases may be.
    pub async fn work_until_killed(
        &self,
        put_together: impl FnOnce(WorkerBuilder) -> WorkerBuilder + Send + 'static,
    ) -> Mortal {
        let place = self.place.clone();
        let make = async move || {
            let builder = settled(Worker::builder(place.connect().await)).lease_ttl(Duration::from_secs(1));
            put_together(builder).build().unwrap()
        };
        Mortal::start(make).await
    }
}

/// The settings of every worker here: two processors, and a heart that beats often.
fn settled(builder: WorkerBuilder) -> WorkerBuilder {
    builder.processors(2).queue_shards(SHARDS).heartbeat_interval(Duration::from_millis(200))
}

/// Shows that a promise is kept on a bed of its own.
///
/// # Panics
/// If it is not.
pub fn keep<M: Future<Output = Place>, P: Future<Output = ()>>(
    place: impl FnOnce() -> M,
    promise: impl FnOnce(Bed) -> P,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let bed = Bed::new(place().await).await;
        let kept = tokio::time::timeout(PATIENCE, promise(bed)).await;
        assert!(kept.is_ok(), "the promise is not kept after {PATIENCE:?}");
    });
}

/// Makes a test of each promise on each store. A promise is an `async fn(Bed)` of the same module.
#[macro_export]
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        $crate::promises!(@on memory: $($promise),+);
        $crate::promises!(@on postgres: $($promise),+);
    };
    (@on $place:ident: $($promise:ident),+) => {
        mod $place {
            $(
                #[test]
                fn $promise() {
                    $crate::keep($crate::Place::$place, super::$promise);
                }
            )+
        }
    };
}
