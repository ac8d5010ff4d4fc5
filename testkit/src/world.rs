//! A world: the real engine on a memory store under virtual time, on one thread. Its workers can be started and killed,
//! its store can have faults, and the caller that polls it decides when time passes. It must not know what a test
//! checks.

mod calls;
mod definitions;
mod drive;
mod host;
mod patience;
mod prospect;
mod report;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pgworkflows_core::worker::{WorkerBuilder, WorkerMonitor};
use pgworkflows_core::{Client, Timestamp, Worker};
use pgworkflows_memory::{Faults, MemoryStore};

pub(crate) use self::calls::{Call, Calls};
pub(crate) use self::definitions::Definitions;
pub(crate) use self::drive::Stuck;
pub(crate) use self::host::{Gate, WorldHost};
pub(crate) use self::patience::Patience;
pub(crate) use self::prospect::Prospect;
use crate::runtime::clock::{EPOCH, StoreClock};
use crate::runtime::dice::Dice;
use crate::runtime::scheduler::Scheduler;
use crate::runtime::time::{Order, Owner, Time};

/// Decides what happens next in a world.
pub(crate) trait Pilot: fmt::Debug {
    /// Called after each poll of a task.
    fn polled(&self, _world: &World) {}

    /// Called when no task is woken.
    fn idle(&self, world: &World) -> Turn;
}

/// What happens next in a world in which no task is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Time passes if something is due later, as without a pilot.
    TimePasses,
    /// The pilot woke a task.
    Continues,
    /// The world ends, even if something is due later.
    Ends,
}

/// The settings of a world.
#[derive(Clone)]
pub(crate) struct Settings {
    /// What the store's clock shows at first.
    pub(crate) epoch: Timestamp,
    /// The seed of ids and jitter.
    pub(crate) seed: u64,
    /// What disturbs the store.
    pub(crate) faults: Option<Arc<dyn Faults>>,
    /// Holds back outcomes of activities and steps.
    pub(crate) gate: Option<Arc<dyn Gate>>,
    /// Decides what happens next.
    pub(crate) pilot: Option<Rc<dyn Pilot>>,
    /// Further settings of every worker, except its lease and its heartbeat.
    pub(crate) worker: Arc<dyn Fn(WorkerBuilder) -> WorkerBuilder>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epoch: EPOCH,
            seed: 0,
            faults: None,
            gate: None,
            pilot: None,
            worker: Arc::new(|worker| worker),
        }
    }
}

/// The engine under virtual time.
pub(crate) struct World {
    time: Arc<Time>,
    scheduler: RefCell<Scheduler>,
    store: MemoryStore,
    client: Client,
    calls: Arc<Calls>,
    definitions: Definitions,
    settings: Settings,
    workers: RefCell<BTreeMap<WorkerNo, WorkerMonitor>>,
    workers_made: Cell<u32>,
}

/// One life of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkerNo(u32);

impl WorkerNo {
    /// The owner of its processor and heartbeat.
    fn engine(self) -> Owner {
        Owner(2 * self.0 - 1)
    }

    /// The owner of the attempts that it executes.
    fn attempts(self) -> Owner {
        Owner(2 * self.0)
    }
}

/// Whether it owns a worker's processor and heartbeat.
fn is_engine(owner: Owner) -> bool {
    !owner.0.is_multiple_of(2)
}

impl World {
    /// A world without a worker.
    pub(crate) fn new(definitions: Definitions, settings: Settings) -> Result<Self, pgworkflows_core::Error> {
        let time = Time::new(Order::AsWoken, false);
        let clock = Arc::new(StoreClock::new(&time, settings.epoch));
        let store = match &settings.faults {
            Some(faults) => MemoryStore::with_faults(clock, Arc::clone(faults)),
            None => MemoryStore::with_clock(clock),
        };
        let calls = Arc::new(Calls::default());
        let host = WorldHost::new(&time, Owner::WORLD, Dice::new(settings.seed), &calls, None);
        let client = Client::builder(store.clone())
            .queue("default")
            .queue_shards(SHARDS)
            .poll_interval(host::NEVER)
            .host(host);
        Ok(Self {
            scheduler: RefCell::new(Scheduler::new(Arc::clone(&time))),
            time,
            store,
            client: client.build()?,
            calls,
            definitions,
            settings,
            workers: RefCell::default(),
            workers_made: Cell::new(0),
        })
    }

    /// Starts a worker.
    ///
    /// # Errors
    /// Returns an error if the definitions are invalid: two of them have one name, or a name is invalid.
    pub(crate) fn start_worker(&self) -> Result<WorkerNo, pgworkflows_core::Error> {
        self.workers_made.set(self.workers_made.get() + 1);
        let number = WorkerNo(self.workers_made.get());
        let dice = Dice::new(self.settings.seed).fork(u64::from(number.0));
        let gate = self.settings.gate.clone();
        let host = WorldHost::new(&self.time, number.attempts(), dice, &self.calls, gate);
        let worker = Worker::builder(self.store.clone()).host(host).processors(1).queue_shards(SHARDS);
        let worker = worker.one_queue();
        let worker = (self.settings.worker)(worker.name(format!("worker-{}", number.0)));
        let worker = worker.lease_ttl(LEASE_TTL).heartbeat_interval(HEARTBEAT_INTERVAL);
        let worker = self.definitions.register(worker, &self.calls).build()?;
        self.workers.borrow_mut().insert(number, worker.monitor());
        let life = async move {
            let ended = worker.run_on_this_thread(std::future::pending()).await;
            ended.unwrap_or_else(|error| panic!("the worker gave up: {error}"));
        };
        self.scheduler.borrow_mut().spawn(number.engine(), Box::pin(life));
        Ok(number)
    }

    /// Ends all workers as a crash does, without a release. Their leases expire at once.
    pub(crate) fn kill_all(&self) {
        for worker in std::mem::take(&mut *self.workers.borrow_mut()).into_keys() {
            let mut scheduler = self.scheduler.borrow_mut();
            scheduler.kill(worker.engine());
            scheduler.kill(worker.attempts());
        }
        self.store.expire_leases();
    }

    /// Polls one woken task; `false` if none is woken.
    ///
    /// # Panics
    /// Panics if the task does. User code cannot cause that, so it is a bug of the engine.
    pub(crate) fn step(&self) -> bool {
        let stepped = self.scheduler.borrow_mut().step();
        let stepped = stepped.unwrap_or_else(|panic| panic!("the engine panicked: {panic}"));
        self.settings.pilot.iter().filter(|_| stepped).for_each(|pilot| pilot.polled(self));
        stepped
    }

    /// Polls until no task is woken. Whether a task was. No time passes.
    pub(crate) fn settle(&self) -> bool {
        let polled = self.step();
        while self.step() {}
        polled
    }

    /// What happens next, now that no task is woken.
    fn turn(&self) -> Turn {
        self.settings.pilot.as_ref().map_or(Turn::TimePasses, |pilot| pilot.idle(self))
    }

    /// Moves time forwards and wakes what waits for it.
    pub(crate) fn advance_to(&self, time: Duration) {
        self.time.advance_to(time);
    }

    /// The virtual time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.time.now()
    }

    /// The time according to the store's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// What the store's clock shows after that much virtual time.
    pub(crate) fn time_at(&self, elapsed: Duration) -> DateTime<Utc> {
        self.settings.epoch.saturating_add(elapsed).into()
    }

    pub(crate) fn time(&self) -> &Arc<Time> {
        &self.time
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn store(&self) -> &MemoryStore {
        &self.store
    }

    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    pub(crate) fn definitions(&self) -> &Definitions {
        &self.definitions
    }
}

/// How many shards the queue has: one thread serves them all.
const SHARDS: u16 = 1;

/// How long a lease lasts without a heartbeat: the longest time allowed, so that time can be skipped.
const LEASE_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The time between two heartbeats unless time is skipped. A run that sleeps for more than two of them is parked, as in
/// production.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(24 * 3600);

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}

impl Drop for World {
    /// Spawned tasks that were never polled own the time that owns them.
    fn drop(&mut self) {
        let spawned = std::mem::take(&mut self.time.lock().spawned);
        drop(spawned);
    }
}
