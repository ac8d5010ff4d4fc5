//! A simulated world: workers that crash, freeze and restart, clients with scripts, and a store with faults. The
//! disturbances are a list drawn from the seed before the world begins; then comes a quiet phase in which
//! everything must end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgworkflows::{Client, RunId, Worker, WorkerMonitor};
use pgworkflows_memory::{MemoryStore, Snapshot};
use tokio::sync::oneshot;

use super::canary::{Canary, seen_by_workers};
use super::clients::{Promises, Script, lock};
use super::dice::Dice;
use super::faults::{SimFaults, StoreTime, Weights};
use super::host::SimHost;
use super::ledger::{Book, Ledger};
use super::nature::{Action, Nature, SlotNature};
use super::scheduler::Scheduler;
use super::time::{Order, Owner, Time};
use super::workflow::register;

/// A place for a worker.
#[derive(Default)]
struct Slot {
    life: Option<Life>,
}

struct Life {
    owner: Owner,
    stop: Option<oneshot::Sender<()>>,
    monitor: WorkerMonitor,
}

pub(crate) struct World {
    pub(crate) nature: Nature,
    canary: Option<Canary>,
    pub(crate) time: Arc<Time>,
    pub(crate) scheduler: Scheduler,
    pub(crate) store: MemoryStore,
    pub(crate) faults: Arc<SimFaults>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) promises: Arc<Mutex<Promises>>,
    /// Orphans that were terminated.
    ended: BTreeSet<RunId>,
    client: Client,
    slots: Vec<Slot>,
    actions: BTreeMap<(Duration, u64), Action>,
    actions_made: u64,
    copy: Option<(Snapshot, Book)>,
    dice: Dice,
    owners: u32,
}

/// How many polls a world may take. Most take a few thousand.
const POLLS_MAX: u64 = 300_000;

impl World {
    pub(crate) fn new(seed: u64, canary: Option<Canary>, in_words: bool) -> Self {
        let dice = Dice::new(seed);
        let nature = Nature::draw(&mut dice.fork(1));
        let time = Time::new(Order::Drawn(dice.fork(2)), in_words);
        let ledger = Ledger::new(Arc::clone(&time));
        let calm = nature.calm;
        let weights =
            if calm { Weights::default() } else { Weights::draw(&mut dice.fork(3), nature.lease_ttl) };
        let faults = SimFaults::new(Arc::clone(&time), Arc::clone(&ledger), dice.fork(4), weights);
        let faults = Arc::new(faults);
        let clock = Arc::new(StoreTime(Arc::clone(&time)));
        let flaws = canary.map(Canary::flaws).unwrap_or_default();
        let store = MemoryStore::with_flaws(clock, Arc::clone(&faults) as _, flaws);
        let host = SimHost::new(Arc::clone(&time), Owner::WORLD, dice.fork(8));
        let client = Client::builder(store.clone()).queue_shards(nature.queue_shards).host(host);
        let client = client.build().expect("the settings are in range");
        let mut world = Self {
            scheduler: Scheduler::new(Arc::clone(&time)),
            slots: nature.slots.iter().map(|_| Slot::default()).collect(),
            nature,
            canary,
            time,
            store,
            faults,
            ledger,
            promises: Arc::default(),
            ended: BTreeSet::new(),
            client,
            actions: BTreeMap::new(),
            actions_made: 0,
            copy: None,
            dice: dice.fork(5),
            owners: 0,
        };
        for (at, action) in world.nature.disturbances(&mut dice.fork(6)) {
            world.at(at, action);
        }
        world.open_scripts(&dice.fork(7));
        world
    }

    fn open_scripts(&mut self, dice: &Dice) {
        let clients = [1, 2].map(|number| {
            let host = SimHost::new(Arc::clone(&self.time), Owner::WORLD, dice.fork(number));
            Client::builder(self.store.clone())
                .queue_shards(self.nature.queue_shards)
                .poll_interval(self.nature.lease_ttl / 4)
                .host(host)
                .build()
                .expect("the settings are in range")
        });
        lock(&self.promises).scripts = self.nature.runs as usize;
        for number in 0..self.nature.runs {
            let script = Script {
                clients: clients.clone(),
                store: self.store.clone(),
                time: Arc::clone(&self.time),
                ledger: Arc::clone(&self.ledger),
                promises: Arc::clone(&self.promises),
                number,
                unit: self.nature.lease_ttl,
                forgetful: self.nature.forgetful,
            };
            self.scheduler.spawn(Owner::WORLD, Box::pin(script.play(dice.fork(100 + number))));
        }
    }

    fn at(&mut self, at: Duration, action: Action) {
        self.actions_made += 1;
        self.actions.insert((at, self.actions_made), action);
    }

    /// Runs the disturbed phase, then the quiet one, then hands everything over.
    pub(crate) fn run(&mut self) {
        let disturbed_for = self.nature.disturbed_for;
        self.run_until(disturbed_for, |_| false);
        self.calm_down();
        let is_done = |world: &Self| {
            lock(&world.promises).scripts == 0
                && (world.ledger.lock().book.is_quiet() || !world.orphans().is_empty())
        };
        // No plan sleeps as long as this, so something happens in between as long as all is well.
        let patience = self.nature.lease_ttl * 60 + Duration::from_secs(600);
        let mut done = false;
        while !done && !self.is_violated() {
            let last_progress = self.ledger.lock().last_progress.max(disturbed_for);
            let now = self.time.now();
            if now > last_progress + patience {
                break;
            }
            done = self.run_until(now + patience / 8, is_done) && !self.end_orphans();
        }
        if !done && !self.is_violated() {
            let waiting = self.unfinished();
            self.ledger.violated(format!("after a long time of quiet, this has not ended: {waiting}"));
        }
        if !self.is_violated() {
            self.hand_over();
        }
    }

    /// Runs that are open and that nobody cares for: those of starts without a key whose fate their client never
    /// learned, and all where commits were lost, for what they wait for may be lost.
    fn orphans(&self) -> Vec<RunId> {
        let promises = lock(&self.promises);
        let is_cared_for = |run: &RunId| promises.runs.iter().any(|promise| promise.run == *run);
        let inner = self.ledger.lock();
        let open = inner.book.runs.iter().filter(|(_, account)| !account.is_over).map(|(run, _)| *run);
        open.filter(|run| !self.ended.contains(run) && (self.nature.forgetful || !is_cared_for(run)))
            .collect()
    }

    /// Terminates orphans. Whether there were any.
    fn end_orphans(&mut self) -> bool {
        let orphans = self.orphans();
        for run in &orphans {
            self.ended.insert(*run);
            let (client, run, ledger) = (self.client.clone(), *run, Arc::clone(&self.ledger));
            self.scheduler.spawn(
                Owner::WORLD,
                Box::pin(async move {
                    match client.terminate(run, "nobody cares for it").await {
                        Ok(()) => {}
                        Err(error) if error.is_run_over() => {}
                        Err(error) => ledger.violated(format!("a termination was refused: {error}")),
                    }
                }),
            );
        }
        !orphans.is_empty()
    }

    /// Ends all disturbances, and has every worker there.
    fn calm_down(&mut self) {
        self.time.trace("quiet", 0, || "the quiet phase begins".to_owned());
        self.faults.end();
        self.actions.clear();
        while self.store.deliver_lingering() {}
        for slot in 0..self.slots.len() {
            if let Some(life) = &self.slots[slot].life {
                self.scheduler.thaw(life.owner);
            }
            self.act(Action::Start { slot });
        }
    }

    /// A graceful shutdown of all workers leaves nothing in memory and takes no longer than it says.
    fn hand_over(&mut self) {
        let settle = self.time.now() + self.nature.lease_ttl * 2;
        self.run_until(settle, |_| false);
        let live: usize = self
            .slots
            .iter()
            .filter_map(|slot| slot.life.as_ref())
            .map(|life| life.monitor.live_runs())
            .sum();
        if live > 0 {
            self.ledger.violated(format!("{live} runs are still in memory after all have ended"));
        }
        for slot in 0..self.slots.len() {
            self.act(Action::Stop { slot });
        }
        let end = self.time.now() + self.nature.lease_ttl * 2 + Duration::from_secs(10);
        let is_done = |world: &Self| world.slots.iter().all(|slot| !world.is_alive(slot));
        if !self.run_until(end, is_done) {
            self.ledger.violated("a graceful shutdown with nothing to wait for did not end".to_owned());
        }
    }

    pub(crate) fn is_violated(&self) -> bool {
        !self.ledger.lock().violations.is_empty()
    }

    fn unfinished(&self) -> String {
        let scripts = lock(&self.promises).scripts;
        let inner = self.ledger.lock();
        let open: Vec<String> =
            inner.book.runs.iter().filter(|(_, run)| !run.is_over).map(|(id, _)| id.to_string()).collect();
        format!("{scripts} scripts, {} messages, runs {open:?}", inner.book.inbox.len())
    }

    /// Lets the world go on until a time, or until it is done, or something is violated. Whether it is done.
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
                self.ledger.violated(format!("{POLLS_MAX} polls and no end: something turns in circles"));
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

    fn act(&mut self, action: Action) {
        self.time.trace("action", 0, || format!("{action:?}"));
        match action {
            Action::Start { slot } => self.start(slot),
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
                if self.slots[slot].life.as_ref().is_some_and(|there| there.owner == life) {
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
            // A store that is restored to before its first use is another store.
            Action::Snapshot if !self.ledger.lock().book.is_begun() => {}
            Action::Snapshot => self.copy = Some((self.store.snapshot(), self.ledger.snapshot())),
            Action::Restore => {
                if let Some((store, book)) = self.copy.take() {
                    self.faults.count("commits lost");
                    self.store.restore(&store);
                    self.ledger.restore(&book);
                }
            }
        }
    }

    fn is_alive(&self, slot: &Slot) -> bool {
        slot.life.as_ref().is_some_and(|life| life.stop.is_some() || self.scheduler.is_alive(life.owner))
    }

    /// Starts a worker, unless there is one.
    fn start(&mut self, slot: usize) {
        if self.is_alive(&self.slots[slot]) {
            if self.slots[slot].life.as_ref().is_some_and(|life| life.stop.is_none()) {
                // It is on its way out: its successor waits for it.
                self.at(self.time.now() + Duration::from_millis(10), Action::Start { slot });
            }
            return;
        }
        self.owners += 1;
        let owner = Owner(self.owners);
        let SlotNature { processors, activities_max, grace } = self.nature.slots[slot];
        let host = SimHost::new(Arc::clone(&self.time), owner, self.dice.fork(u64::from(owner.0)));
        let worker = Worker::builder(seen_by_workers(&self.store, self.canary))
            .name(format!("worker-{}", owner.0))
            .host(Arc::clone(&host) as _)
            .processors(processors)
            .activities_max(activities_max)
            .queue_shards(self.nature.queue_shards)
            .lease_ttl(self.nature.lease_ttl)
            .tick_interval(self.nature.tick_interval)
            .shutdown_grace(grace);
        let worker = register(worker, &host, &self.ledger).build().expect("the settings are in range");
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
        self.slots[slot].life = Some(Life { owner, stop: Some(stop), monitor });
    }
}
