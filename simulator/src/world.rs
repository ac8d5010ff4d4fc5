//! A simulated world: workers that crash, freeze and restart, clients with scripts, and a store with faults. The
//! disturbances are a list that is drawn from the seed before the world begins. It must not know when a world is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use pgworkflows_core::store::Store;
use pgworkflows_core::worker::WorkerMonitor;
use pgworkflows_core::{Client, RunId, Worker};
use pgworkflows_memory::{MemoryStore, Snapshot};
use pgworkflows_testkit::interceptor::intercept;
use pgworkflows_testkit::runtime::clock::{EPOCH, StoreClock};
use pgworkflows_testkit::runtime::dice::Dice;
use pgworkflows_testkit::runtime::scheduler::Scheduler;
use pgworkflows_testkit::runtime::time::{Order, Owner, Time};
use tokio::sync::oneshot;

use crate::clients::{Promises, Script, lock};
use crate::config::{Action, Code, TIME_MIN, WorkerConfig, WorldConfig};
use crate::faults::{SimFaults, Weights};
use crate::host::SimHost;
use crate::ledger::{Accounts, Ledger};
use crate::mask::Mask;
use crate::pages::Pages;
use crate::plan::QUEUES;
use crate::sending::Sends;
use crate::traces::Traces;
use crate::workflow::register;

/// A place for a worker.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) life: Option<Life>,
}

pub(crate) struct Life {
    pub(crate) owner: Owner,
    pub(crate) code: Code,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) monitor: WorkerMonitor,
}

pub(crate) struct World {
    pub(crate) config: WorldConfig,
    sends: Arc<Sends>,
    pub(crate) time: Arc<Time>,
    pub(crate) scheduler: Scheduler,
    pub(crate) store: MemoryStore,
    pub(crate) faults: Arc<SimFaults>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) promises: Arc<Mutex<Promises>>,
    /// Runs that the world terminated.
    pub(crate) ended: BTreeSet<RunId>,
    /// Runs that the world resumed in the quiet phase, because they were stalled.
    pub(crate) resumed: BTreeSet<RunId>,
    /// Those of them that were still stalled after a long quiet time.
    pub(crate) stuck: BTreeSet<RunId>,
    pub(crate) client: Client,
    pub(crate) traces: Traces,
    pub(crate) slots: Vec<Slot>,
    pub(crate) actions: BTreeMap<(Duration, u64), Action>,
    actions_made: u64,
    copy: Option<(Snapshot, Accounts)>,
    pub(crate) dice: Dice,
    owners: u32,
}

/// How many polls a world may take. Most take a few thousand.
const POLLS_MAX: u64 = 300_000;

/// A store that has the queues of the world, or the first of them, whose shards have to begin at 0. A queue whose creation may be
/// lost is created before.
fn queues(config: &WorldConfig, clock: Arc<StoreClock>) -> Snapshot {
    let store = MemoryStore::with_clock(clock);
    let count = if config.loses_commits { QUEUES.len() } else { 1 };
    for name in &QUEUES[..count] {
        let created = store.queue(name, config.queue_shards).now_or_never();
        assert!(matches!(created, Some(Ok(_))), "a store in memory answers at once");
    }
    store.snapshot()
}

impl World {
    pub(crate) fn new(seed: u64, mask: &Mask, deadly: bool, in_words: bool) -> Self {
        let dice = Dice::new(seed);
        let config = WorldConfig::draw(&mut dice.fork(1), deadly);
        let time = Time::new(Order::Drawn(dice.fork(2)), in_words);
        let ledger = Ledger::new(Arc::clone(&time));
        let calm = config.calm;
        let weights =
            if calm { Weights::default() } else { Weights::draw(&mut dice.fork(3), config.lease_ttl) };
        ledger.lock().lease_ttl = Some(config.lease_ttl);
        let disturbances = config.disturbances(&mut dice.fork(6));
        let scripts = disturbances.len() as u32..disturbances.len() as u32 + config.runs as u32;
        let faults = SimFaults::new(
            Arc::clone(&time),
            Arc::clone(&ledger),
            dice.fork(4),
            (weights, config.latency_max, config.costs),
            (mask.clone(), scripts.end),
        );
        let faults = Arc::new(faults);
        let clock = Arc::new(StoreClock::new(&time, EPOCH));
        let store = MemoryStore::with_faults(Arc::clone(&clock) as _, Arc::clone(&faults) as _);
        if config.has_annex {
            store.restore(&queues(&config, clock));
        }
        let host = SimHost::new(Arc::clone(&time), Owner::WORLD, dice.fork(8));
        let client = Client::builder(store.clone()).queue_shards(config.queue_shards).host(host).build();
        let host = SimHost::new(Arc::clone(&time), Owner::WORLD, dice.fork(10));
        let sends = Sends::new(&time, host, config.queue_shards);
        let mut world = Self {
            scheduler: Scheduler::new(Arc::clone(&time)),
            slots: config.slots.iter().map(|_| Slot::default()).collect(),
            sends,
            config,
            time,
            store,
            faults,
            ledger,
            promises: Arc::default(),
            ended: BTreeSet::new(),
            resumed: BTreeSet::new(),
            stuck: BTreeSet::new(),
            client: client.expect("the settings are in range"),
            traces: Traces::default(),
            actions: BTreeMap::new(),
            actions_made: 0,
            copy: None,
            dice: dice.fork(5),
            owners: 0,
        };
        let kept = disturbances.into_iter().zip(0..).filter(|(_, part)| mask.keeps(*part));
        let starts = world.config.starts(&mut dice.fork(9));
        for (at, action) in starts.into_iter().chain(kept.flat_map(|(disturbance, _)| disturbance)) {
            world.at(at, action);
        }
        let kept = scripts.zip(0..).filter(|(part, _)| mask.keeps(*part)).map(|(_, script)| script);
        world.open_scripts(kept.collect(), &dice.fork(7));
        world
    }

    fn open_scripts(&mut self, numbers: Vec<u64>, dice: &Dice) {
        let clients = [1, 2].map(|number| {
            let host = SimHost::new(Arc::clone(&self.time), Owner::WORLD, dice.fork(number));
            let client = Client::builder(self.store.clone())
                .queue_shards(self.config.queue_shards)
                .poll_interval(self.config.lease_ttl / 4)
                .trace_propagator(self.traces.clone())
                .host(host);
            // Otherwise it would start runs in the queue whose worker was the first.
            let client = if self.config.has_annex { client.queue(QUEUES[0]) } else { client };
            client.build().expect("the settings are in range")
        });
        lock(&self.promises).scripts = numbers.len();
        for number in numbers {
            let script = Script {
                clients: clients.clone(),
                store: self.store.clone(),
                time: Arc::clone(&self.time),
                ledger: Arc::clone(&self.ledger),
                promises: Arc::clone(&self.promises),
                number,
                config: self.config.clone(),
            };
            self.scheduler.spawn(Owner::WORLD, Box::pin(script.play(dice.fork(100 + number))));
        }
    }

    fn at(&mut self, at: Duration, action: Action) {
        self.actions_made += 1;
        self.actions.insert((at, self.actions_made), action);
    }

    pub(crate) fn is_violated(&self) -> bool {
        !self.ledger.lock().violations.is_empty()
    }

    /// Lets the world continue until a time, until it is done, or until something is violated. Whether it is done.
    pub(crate) fn run_until(&mut self, until: Duration, is_done: impl Fn(&Self) -> bool) -> bool {
        loop {
            if self.is_violated() {
                return false;
            }
            if is_done(self) {
                return true;
            }
            self.act_now();
            if self.scheduler.polls > POLLS_MAX {
                self.ledger
                    .violated(format!("{POLLS_MAX} polls and no end: something loops without progress"));
                return false;
            }
            match self.scheduler.step() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(panic) => {
                    self.ledger.violated(format!("panicked: {panic}"));
                    return false;
                }
            }
            let next_action = self.actions.first_key_value().map(|((at, _), _)| *at);
            let next = [self.time.next_timer(), next_action].into_iter().flatten().min();
            match next {
                Some(next) if next <= until => self.time.advance_to(next),
                _ => {
                    self.time.advance_to(until);
                    return is_done(self);
                }
            }
        }
    }

    fn act_now(&mut self) {
        let dying = std::mem::take(&mut self.ledger.lock().dying);
        for owner in dying {
            self.die(owner);
        }
        for arrival in self.faults.take_arrivals() {
            self.at(arrival, Action::Deliver);
        }
        while let Some(entry) = self.actions.first_entry() {
            if entry.key().0 > self.time.now() {
                return;
            }
            let action = entry.remove();
            self.act(action);
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.time.trace("action", 0, || format!("{action:?}"));
        match action {
            Action::Start { slot, code } => self.start(slot, code),
            Action::Crash { slot } => {
                if let Some(life) = self.slots[slot].life.take() {
                    self.faults.count("crash");
                    self.scheduler.kill(life.owner);
                }
            }
            Action::Stop { slot } => {
                if let Some(stop) = self.slots[slot].life.as_mut().and_then(|life| life.stop.take()) {
                    let _ = stop.send(());
                }
            }
            Action::Freeze { slot, time } => {
                if let Some(life) = &self.slots[slot].life {
                    let owner = life.owner;
                    self.faults.count("freeze");
                    self.scheduler.freeze(owner);
                    let thaw = (self.time.now() + time, u64::MAX - u64::from(owner.0));
                    self.actions.insert(thaw, Action::Thaw { slot, life: owner });
                }
            }
            Action::Thaw { slot, life } => {
                if self.slots[slot].life.as_ref().is_some_and(|current| current.owner == life) {
                    self.scheduler.thaw(life);
                }
            }
            Action::Deliver => _ = self.store.deliver_lingering(),
            Action::Outage { time } => self.faults.outage(self.time.now() + time),
            Action::CutOff { slot, time } => {
                if let Some(life) = &self.slots[slot].life {
                    self.faults.cut_off(life.owner, self.time.now() + time);
                }
            }
            Action::Leap { by } => {
                self.faults.count("lease theft");
                self.time.leap(by);
            }
            // A store that is restored to a time before its first use is another store.
            Action::Snapshot if !self.ledger.lock().accounts.is_begun() => {}
            Action::Snapshot => self.copy = Some((self.store.snapshot(), self.ledger.snapshot())),
            Action::Restore => {
                if let Some((store, accounts)) = self.copy.take() {
                    self.faults.count("commits lost");
                    self.store.restore(&store);
                    self.ledger.restore(&accounts);
                }
            }
        }
    }

    /// One of a worker's activities ends the process, which is started again later.
    fn die(&mut self, owner: Owner) {
        let is_owned = |slot: &Slot| slot.life.as_ref().is_some_and(|life| life.owner == owner);
        let Some(slot) = self.slots.iter().position(is_owned) else { return };
        let code = self.slots[slot].life.as_ref().map_or(self.config.last[slot], |life| life.code);
        self.act(Action::Crash { slot });
        let back = self.time.now() + self.dice.time(TIME_MIN, self.config.lease_ttl);
        self.at(back, Action::Start { slot, code });
    }

    pub(crate) fn is_alive(&self, slot: &Slot) -> bool {
        slot.life.as_ref().is_some_and(|life| life.stop.is_some() || self.scheduler.is_alive(life.owner))
    }

    /// Starts a worker, unless it is running.
    fn start(&mut self, slot: usize, code: Code) {
        if self.is_alive(&self.slots[slot]) {
            if self.slots[slot].life.as_ref().is_some_and(|life| life.stop.is_none()) {
                // The old worker is shutting down: the new one waits for it.
                self.at(self.time.now() + Duration::from_millis(10), Action::Start { slot, code });
            }
            return;
        }
        self.owners += 1;
        let owner = Owner(self.owners);
        let WorkerConfig { processors, activities_max, grace, role, queue } = self.config.slots[slot];
        let host = SimHost::new(Arc::clone(&self.time), owner, self.dice.fork(u64::from(owner.0)));
        let pages = Pages { bytes: self.config.page_bytes };
        let store = intercept(intercept(self.store.clone(), Arc::clone(&self.sends) as _), Arc::new(pages));
        let worker = Worker::builder(store)
            .name(format!("worker-{}", owner.0))
            .queue(queue)
            .trace_propagator(self.traces.clone())
            .host(Arc::clone(&host) as _)
            .activities_max(activities_max)
            .memory_max(self.config.memory_max)
            .queue_shards(self.config.queue_shards)
            .generation(code.generation)
            .lease_ttl(self.config.lease_ttl)
            .heartbeat_interval(self.config.heartbeat_interval)
            .shutdown_grace(grace)
            .handover_grace(grace);
        let worker = if role.has_workflow { worker.processors(processors) } else { worker };
        let worker =
            register(worker, role, code, &host, &self.ledger).build().expect("the settings are in range");
        let monitor = worker.monitor();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ledger, time) = (Arc::clone(&self.ledger), Arc::clone(&self.time));
        let life = async move {
            let stopped = async { drop(stopped.await) };
            match worker.run_on_this_thread(stopped).await {
                Ok(()) => time.trace("stopped", owner.0.into(), || format!("worker {}", owner.0)),
                Err(error) => ledger.violated(format!("a worker gave up: {error}")),
            }
        };
        self.scheduler.spawn(owner, Box::pin(life));
        self.slots[slot].life = Some(Life { owner, code, stop: Some(stop), monitor });
    }
}
