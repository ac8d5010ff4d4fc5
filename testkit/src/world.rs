//! A world: the real engine on a memory store under virtual time, on one thread. Its workers can be started and
//! killed, its store can have faults, and whoever polls decides when time passes. It must not know what its user
//! wants to find out.

mod calls;
mod definitions;
mod drive;
mod host;
mod patience;
mod pilot;
mod report;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pgworkflows::{Client, Timestamp, Worker, WorkerBuilder, WorkerMonitor};
use pgworkflows_memory::{Clock, Faults, MemoryStore};

pub(crate) use self::calls::{Call, Calls};
pub(crate) use self::definitions::Definitions;
pub(crate) use self::drive::Stuck;
pub(crate) use self::host::{Gate, WorldHost};
pub(crate) use self::patience::Patience;
pub(crate) use self::pilot::{Pilot, Turn};
use crate::runtime::dice::Dice;
use crate::runtime::scheduler::Scheduler;
use crate::runtime::time::{Order, Owner, Time};

/// What a world is made of.
#[derive(Clone)]
pub(crate) struct Settings {
    /// What the store's clock shows at first.
    pub(crate) epoch: Timestamp,
    /// Where ids and jitter come from.
    pub(crate) seed: u64,
    /// How long a worker that was killed keeps others waiting.
    pub(crate) lease_ttl: Duration,
    /// How often a worker that has nothing to do wakes up.
    pub(crate) tick_interval: Duration,
    /// What disturbs the store.
    pub(crate) faults: Option<Arc<dyn Faults>>,
    /// What holds outcomes of activities and steps back.
    pub(crate) gate: Option<Arc<dyn Gate>>,
    /// What leads the world.
    pub(crate) pilot: Option<Rc<dyn Pilot>>,
    /// Further settings of every worker.
    pub(crate) worker: Arc<dyn Fn(WorkerBuilder) -> WorkerBuilder>,
}

/// 2026-01-01 00:00 UTC. Any time after 1970 would do, since run ids hold milliseconds since then.
pub(crate) const EPOCH: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

impl Default for Settings {
    /// No faults, and workers that seldom wake up: years pass in a moment.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            epoch: EPOCH,
            seed: 0,
            lease_ttl: 4 * day,
            tick_interval: day,
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
    /// Until then a worker that was killed may keep its runs from others.
    settled_at: Cell<Duration>,
}

/// One life of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkerNo(u32);

impl WorkerNo {
    /// Whose task its processor and heart are.
    fn engine(self) -> Owner {
        Owner(2 * self.0 - 1)
    }

    /// Whose tasks the attempts are that it executes.
    fn attempts(self) -> Owner {
        Owner(2 * self.0)
    }
}

/// Whether it is a worker's processor and heart, which have timers even where nothing is ahead.
fn is_engine(owner: Owner) -> bool {
    !owner.0.is_multiple_of(2)
}

/// What a world in which no task is woken waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// An activity or a step waits for something that is not of this world.
    Outside,
    /// Time has to pass, until then at least.
    Time(Duration),
    /// Nothing: whatever time passes, no run goes on.
    Nothing,
}

impl World {
    /// A world without a worker.
    pub(crate) fn new(definitions: Definitions, settings: Settings) -> Result<Self, pgworkflows::Error> {
        let time = Time::new(Order::AsWoken, false);
        let clock = Arc::new(WorldClock { time: Arc::clone(&time), epoch: settings.epoch });
        let store = match &settings.faults {
            Some(faults) => MemoryStore::with_faults(clock, Arc::clone(faults)),
            None => MemoryStore::with_clock(clock),
        };
        let calls = Arc::new(Calls::default());
        let host = WorldHost::new(&time, Owner::WORLD, Dice::new(settings.seed), &calls, None);
        let client =
            Client::builder(store.clone()).queue_shards(SHARDS).poll_interval(host::NEVER).host(host);
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
            settled_at: Cell::new(Duration::ZERO),
        })
    }

    /// Starts a worker. The error is one of the definitions: two of one name, or a name that cannot be.
    pub(crate) fn start_worker(&self) -> Result<WorkerNo, pgworkflows::Error> {
        self.workers_made.set(self.workers_made.get() + 1);
        let number = WorkerNo(self.workers_made.get());
        let dice = Dice::new(self.settings.seed).fork(u64::from(number.0));
        let gate = self.settings.gate.clone();
        let host = WorldHost::new(&self.time, number.attempts(), dice, &self.calls, gate);
        let worker = Worker::builder(self.store.clone()).host(host).processors(1).queue_shards(SHARDS);
        let worker = worker.name(format!("worker-{}", number.0)).lease_ttl(self.settings.lease_ttl);
        let worker = (self.settings.worker)(worker.tick_interval(self.settings.tick_interval));
        let worker = self.definitions.register(worker, &self.calls).build()?;
        self.workers.borrow_mut().insert(number, worker.monitor());
        let life = async move {
            let ended = worker.run_on_this_thread(std::future::pending()).await;
            ended.unwrap_or_else(|error| panic!("the worker gave up: {error}"));
        };
        self.scheduler.borrow_mut().spawn(number.engine(), Box::pin(life));
        Ok(number)
    }

    /// Ends a worker where it stands, as a crash does: nothing is handed over.
    pub(crate) fn kill(&self, worker: WorkerNo) {
        if self.workers.borrow_mut().remove(&worker).is_some() {
            let mut scheduler = self.scheduler.borrow_mut();
            scheduler.kill(worker.engine());
            scheduler.kill(worker.attempts());
            let keeps_for = self.settings.lease_ttl + 2 * self.settings.tick_interval;
            self.settled_at.set(self.time.now() + keeps_for);
        }
    }

    /// Ends all workers where they stand.
    pub(crate) fn kill_all(&self) {
        let workers: Vec<_> = self.workers.borrow().keys().copied().collect();
        workers.into_iter().for_each(|worker| self.kill(worker));
    }

    /// Polls one woken task; `false` if none is woken.
    ///
    /// # Panics
    /// If the task does: no code of a user can make it, so that is a bug of the engine.
    pub(crate) fn step(&self) -> bool {
        let stepped = self.scheduler.borrow_mut().step();
        let stepped = stepped.unwrap_or_else(|panic| panic!("the engine panicked: {panic}"));
        self.settings.pilot.iter().filter(|_| stepped).for_each(|pilot| pilot.polled(self));
        stepped
    }

    /// Polls until no task is woken, and tells whether one was. No time passes.
    pub(crate) fn settle(&self) -> bool {
        let polled = self.step();
        while self.step() {}
        polled
    }

    /// What has to happen before the world goes on by itself, once it is settled.
    pub(crate) fn prospect(&self) -> Prospect {
        if self.calls.waits_outside() {
            return Prospect::Outside;
        }
        match self.time.next_timer() {
            Some(next) if self.is_anything_ahead() => Prospect::Time(next),
            _ => Prospect::Nothing,
        }
    }

    /// What comes next, now that no task is woken.
    fn turn(&self) -> Turn {
        self.settings.pilot.as_ref().map_or(Turn::TimePasses, |pilot| pilot.rested(self))
    }

    /// Whether time brings more than the heartbeats of workers.
    fn is_anything_ahead(&self) -> bool {
        let is_deadline = |monitor: &WorkerMonitor| monitor.next_deadline().is_some();
        self.workers.borrow().values().any(is_deadline)
            || self.store.next_deadline().is_some()
            || self.time.now() < self.settled_at.get()
            // Of clients, and of attempts: their own sleeps and their limits.
            || self.time.has_timer(|owner| !is_engine(owner))
    }

    fn has_attempt_with_timer(&self) -> bool {
        self.time.has_timer(|owner| owner != Owner::WORLD && !is_engine(owner))
    }

    /// Moves time on and wakes what waits for it.
    pub(crate) fn advance_to(&self, time: Duration) {
        self.time.advance_to(time);
    }

    /// The virtual time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.time.now()
    }

    /// The time by the store's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// What the store's clock showed when so much virtual time had passed.
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

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}

impl Drop for World {
    /// Tasks that were spawned and never polled hold on to the time that holds on to them.
    fn drop(&mut self) {
        let spawned = std::mem::take(&mut self.time.lock().spawned);
        drop(spawned);
    }
}

/// The store's clock.
#[derive(Debug)]
struct WorldClock {
    time: Arc<Time>,
    epoch: Timestamp,
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        self.epoch.saturating_add(Duration::from_micros(self.time.now().as_micros() as u64))
    }
}
