//! The configuration of a world and the disturbances that await it, drawn from its seed before it begins. It must not
//! know how a disturbance is made.

use pgworkflows_testkit::runtime::dice::Dice;
use pgworkflows_testkit::runtime::time::Owner;
use std::time::Duration;

use crate::cost::Costs;
use crate::faults::LATENCY_USUAL;
use crate::plan::QUEUES;

/// Something that happens to a world.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// The worker starts with this code, unless it is running.
    Start {
        slot: usize,
        code: Code,
    },
    /// The worker is dropped with everything that it is doing.
    Crash {
        slot: usize,
    },
    /// The worker shuts down gracefully.
    Stop {
        slot: usize,
    },
    /// The worker does nothing for a while, and does not notice that.
    Freeze {
        slot: usize,
        time: Duration,
    },
    Thaw {
        slot: usize,
        life: Owner,
    },
    /// A request whose caller gave up arrives.
    Deliver,
    /// No worker or client reaches the store.
    Outage {
        time: Duration,
    },
    /// One worker does not reach the store.
    CutOff {
        slot: usize,
        time: Duration,
    },
    /// The store's clock leaps ahead: healthy workers lose their leases.
    Leap {
        by: Duration,
    },
    /// The store is copied.
    Snapshot,
    /// The store is restored from its copy.
    Restore,
}

/// The code of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    /// Whether it is a broken build: it panics where a plan has a mine.
    pub(crate) broken: bool,
    pub(crate) generation: u64,
    /// Whether it knows the first workflow, and whether it knows the other one.
    pub(crate) knows: [bool; 2],
}

/// The configuration of a world.
#[derive(Clone, Debug)]
pub(crate) struct WorldConfig {
    pub(crate) lease_ttl: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) queue_shards: u16,
    pub(crate) slots: Vec<WorkerConfig>,
    /// Whether activities are sent to an activity queue.
    pub(crate) tasks: bool,
    pub(crate) runs: u64,
    /// Whether commits may be lost.
    pub(crate) loses_commits: bool,
    /// Whether the world has no disturbances.
    pub(crate) calm: bool,
    /// Whether a broken build is deployed now and then: its code panics where a plan has a mine.
    pub(crate) broken: bool,
    /// Whether there is another queue, with a worker of its own, in which some children run. It is the last worker.
    pub(crate) has_annex: bool,
    /// Whether its workers differ: some know a workflow that others do not, and some are newer than others.
    pub(crate) fleets: bool,
    /// The code of each worker in the quiet phase. The first one knows everything.
    pub(crate) last: Vec<Code>,
    /// Whether its runs mostly sleep.
    pub(crate) sleepy: bool,
    /// Whether activities of its first runs may end the process of their worker: only on request.
    pub(crate) deadly: bool,
    /// Whether the store's clock leaps.
    pub(crate) leaps: bool,
    /// How long a call of the store takes at most. Where that is long, much happens meanwhile.
    pub(crate) latency_max: Duration,
    pub(crate) costs: Costs,
    /// How many bytes of frames the store returns at once.
    pub(crate) page_bytes: usize,
    /// The memory of each worker.
    pub(crate) memory_max: usize,
    pub(crate) disturbed_for: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerConfig {
    pub(crate) processors: usize,
    pub(crate) activities_max: usize,
    pub(crate) grace: Duration,
    pub(crate) role: WorkerRole,
    /// The queue that it serves.
    pub(crate) queue: &'static str,
}

/// What a worker has. The first one has everything, and so have all of a world without tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerRole {
    /// Whether it has the workflow; otherwise it only executes tasks.
    pub(crate) has_workflow: bool,
    pub(crate) has_activity: bool,
    /// How many slots it has for the activity queue; 0: it does not serve it.
    pub(crate) queue_slots: usize,
}

impl WorldConfig {
    pub(crate) fn draw(dice: &mut Dice, deadly: bool) -> Self {
        let ttl_max = if deadly { DEADLY_TTL_MAX } else { Duration::from_secs(4096) };
        let lease_ttl = dice.time(Duration::from_secs(1), ttl_max);
        let mut roles = dice.fork(3);
        let tasks = !deadly && roles.chance(500);
        let slots = (0..dice.between(1, 3)).map(|slot| WorkerConfig {
            processors: dice.between(1, 2) as usize,
            activities_max: dice.between(1, 6) as usize,
            grace: dice.time(Duration::from_millis(1), lease_ttl),
            role: WorkerRole::draw(&mut roles, tasks && slot > 0),
            queue: QUEUES[0],
        });
        let mut slots: Vec<WorkerConfig> = slots.collect();
        let mut codes = dice.fork(4);
        let fleets = !deadly && slots.len() > 1 && codes.chance(400);
        let has_annex = !deadly && !fleets && codes.fork(1).chance(400);
        if has_annex {
            let grace = lease_ttl / 4;
            slots.push(WorkerConfig {
                processors: 1,
                activities_max: 2,
                grace,
                role: WorkerRole::ALL,
                queue: QUEUES[1],
            });
        }
        let last = Code::draw_last(&mut codes, fleets, slots.len());
        let calm = dice.chance(100);
        let slow = dice.chance(if calm { 700 } else { 300 });
        let heartbeat_interval = lease_ttl / dice.between(3, 8) as u32;
        // A busy worker yields after a few polls, and the heartbeat waits for that for a fourth of its interval.
        let costs = Costs::draw(&mut dice.fork(1), heartbeat_interval / if slow { 16 } else { 12 });
        // Where polls take long, a backlog of them has to take longer than a lease lasts.
        let runs_max = if costs.poll_max > lease_ttl / 64 { 30 } else { 10 };
        Self {
            slots,
            has_annex,
            fleets,
            last,
            tasks,
            lease_ttl,
            heartbeat_interval,
            costs,
            page_bytes: page_bytes(&mut dice.fork(2)),
            memory_max: memory_max(&mut dice.fork(4)),
            queue_shards: dice.between(1, 6) as u16,
            runs: dice.between(1, runs_max),
            loses_commits: dice.chance(150),
            calm,
            broken: !calm && dice.chance(250),
            sleepy: dice.chance(250),
            deadly: deadly && !calm,
            leaps: !calm && dice.chance(150),
            latency_max: if slow { lease_ttl / dice.between(12, 60) as u32 } else { LATENCY_USUAL },
            disturbed_for: lease_ttl * dice.between(5, 30) as u32,
        }
    }

    /// When each worker starts first.
    pub(crate) fn starts(&self, dice: &mut Dice) -> Vec<(Duration, Action)> {
        let mut start = |slot| {
            let at_once = self.calm || slot == 0;
            let at = if at_once { Duration::ZERO } else { dice.time(TIME_MIN, self.lease_ttl * 2) };
            (at, self.start(slot, dice))
        };
        (0..self.slots.len()).map(&mut start).collect()
    }

    fn start(&self, slot: usize, dice: &mut Dice) -> Action {
        let broken = self.broken && dice.chance(400);
        let code = if self.fleets { Code::draw(dice) } else { Code::USUAL };
        Action::Start { slot, code: Code { broken, ..code } }
    }

    /// The disturbances: each with the action that undoes it, and with times.
    pub(crate) fn disturbances(&self, dice: &mut Dice) -> Vec<Vec<(Duration, Action)>> {
        let many = dice.chance(700);
        let count = if self.calm { 0 } else { dice.between(0, if many { 20 } else { 3 }) };
        (0..count).map(|_| self.disturbance(dice)).collect()
    }

    fn disturbance(&self, dice: &mut Dice) -> Vec<(Duration, Action)> {
        let ttl = self.lease_ttl;
        let short = ttl.min(Duration::from_secs(60));
        // Half of them happen early, when everything else happens as well.
        let early = dice.time(TIME_MIN, self.disturbed_for);
        let whenever = Duration::from_micros(dice.below(self.disturbed_for.as_micros() as u64));
        let at = if dice.chance(500) { early } else { whenever };
        let slot = dice.below(self.slots.len() as u64) as usize;
        let back = at + dice.time(TIME_MIN, ttl * 2);
        if self.leaps && dice.chance(150) {
            return vec![(at, Action::Leap { by: dice.time(ttl / 10, ttl * 3) })];
        }
        let action = match dice.below(if self.loses_commits { 14 } else { 10 }) {
            0..4 => Action::Crash { slot },
            4 => Action::Stop { slot },
            5..8 => Action::Freeze { slot, time: dice.time(ttl / 10, ttl * 3) },
            8 => Action::Outage { time: dice.time(TIME_MIN, short * 2) },
            9 => Action::CutOff { slot, time: dice.time(TIME_MIN, short * 2) },
            10..12 => Action::Snapshot,
            _ => Action::Restore,
        };
        match action {
            Action::Crash { .. } | Action::Stop { .. } => {
                vec![(back, self.start(slot, dice)), (at, action)]
            }
            _ => vec![(at, action)],
        }
    }
}

impl Code {
    /// The code of all workers in a world where they do not differ.
    const USUAL: Self = Self { broken: false, generation: 1, knows: [true, false] };

    /// The code of a worker of a fleet that differs. Most builds know both workflows, or only the first one.
    fn draw(dice: &mut Dice) -> Self {
        let knows = match dice.below(10) {
            0..5 => [true, true],
            5..9 => [true, false],
            _ => [false, true],
        };
        Self { broken: false, generation: dice.between(1, 3), knows }
    }

    /// The code of each worker in the quiet phase: the last deploy has ended, or they still differ.
    fn draw_last(dice: &mut Dice, fleets: bool, count: usize) -> Vec<Self> {
        let first = if fleets { Self { knows: [true; 2], ..Self::draw(dice) } } else { Self::USUAL };
        let differ = fleets && dice.chance(500);
        (0..count).map(|slot| if differ && slot > 0 { Self::draw(dice) } else { first }).collect()
    }
}

impl WorkerRole {
    /// Everything.
    const ALL: Self = Self { has_workflow: true, has_activity: true, queue_slots: 1 };

    fn draw(dice: &mut Dice, differs: bool) -> Self {
        let mut slots = || dice.between(1, 4) as usize;
        let all = Self { has_workflow: true, has_activity: true, queue_slots: slots() };
        if !differs {
            return all;
        }
        match dice.below(4) {
            0 => all,
            1 => Self { has_workflow: false, ..all },
            2 => Self { has_workflow: false, queue_slots: 0, ..all },
            _ => Self { has_activity: false, queue_slots: 0, ..all },
        }
    }
}

/// In many worlds, only a few frames.
fn page_bytes(dice: &mut Dice) -> usize {
    if dice.chance(500) { usize::MAX } else { dice.between(1, PAGE_BYTES_SMALL) as usize }
}

/// In many worlds, room for a few runs.
fn memory_max(dice: &mut Dice) -> usize {
    if dice.chance(500) { MEMORY_LARGE } else { dice.between(MEMORY_SMALL, 4 * MEMORY_SMALL) as usize }
}

/// More than all runs of a world need.
const MEMORY_LARGE: usize = 256 << 20;

/// The smallest memory that a worker may have.
const MEMORY_SMALL: u64 = 16 << 10;

/// How many bytes a small page has at most: some ten frames.
const PAGE_BYTES_SMALL: u64 = 2_000;

/// How long leases last at most in a deadly world. Activities take up to twice as long before they end their process,
/// and a run that does so less often than every ten minutes is not searched for.
const DEADLY_TTL_MAX: Duration = Duration::from_secs(16);

/// The shortest time between two things that happen.
pub(crate) const TIME_MIN: Duration = Duration::from_millis(1);
