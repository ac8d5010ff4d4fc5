//! What a world is like and what will happen to it, drawn from its seed before it begins. It must not know how any of
//! it is done.

use pgworkflows_testkit::runtime::dice::Dice;
use pgworkflows_testkit::runtime::time::Owner;
use std::time::Duration;

use crate::cost::Costs;
use crate::faults::LATENCY_USUAL;

/// What happens to a world.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// The worker is there from now on, unless it is there already. Its code may be a broken build.
    Start {
        slot: usize,
        broken: bool,
    },
    /// All that the worker is doing is lost.
    Crash {
        slot: usize,
    },
    /// The worker hands over.
    Stop {
        slot: usize,
    },
    /// The worker does nothing for a while, and does not know it.
    Freeze {
        slot: usize,
        time: Duration,
    },
    Thaw {
        slot: usize,
        life: Owner,
    },
    /// A request that somebody gave up arrives.
    Deliver,
    /// Nobody reaches the store.
    Outage {
        time: Duration,
    },
    /// One worker does not reach the store.
    CutOff {
        slot: usize,
        time: Duration,
    },
    /// The store's clock leaps ahead: leases are taken from workers that are well.
    Leap {
        by: Duration,
    },
    /// The store is copied.
    Snapshot,
    /// The store goes back to its copy.
    Restore,
}

/// How a world is made.
#[derive(Clone, Debug)]
pub(crate) struct Nature {
    pub(crate) lease_ttl: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) queue_shards: u16,
    pub(crate) slots: Vec<SlotNature>,
    pub(crate) runs: u64,
    /// Whether commits may be lost.
    pub(crate) forgetful: bool,
    /// Whether nothing is disturbed at all.
    pub(crate) calm: bool,
    /// Whether a broken build is deployed now and then, whose code cannot go on where a plan has a mine.
    pub(crate) broken: bool,
    /// Whether its runs do little but sleep.
    pub(crate) sleepy: bool,
    /// Whether activities of its first runs may end the process of their worker: only where that is asked for.
    pub(crate) deadly: bool,
    /// Whether the store's clock leaps.
    pub(crate) leaps: bool,
    /// How long a call of the store takes at most. In some worlds that is long: much happens meanwhile.
    pub(crate) latency_max: Duration,
    pub(crate) costs: Costs,
    pub(crate) disturbed_for: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotNature {
    pub(crate) processors: usize,
    pub(crate) activities_max: usize,
    pub(crate) grace: Duration,
}

impl Nature {
    pub(crate) fn draw(dice: &mut Dice, deadly: bool) -> Self {
        let ttl_max = if deadly { DEADLY_TTL_MAX } else { Duration::from_secs(4096) };
        let lease_ttl = dice.time(Duration::from_secs(1), ttl_max);
        let slots = (0..dice.between(1, 3)).map(|_| SlotNature {
            processors: dice.between(1, 2) as usize,
            activities_max: dice.between(1, 6) as usize,
            grace: dice.time(Duration::from_millis(1), lease_ttl),
        });
        let slots = slots.collect();
        let calm = dice.chance(100);
        let slow = dice.chance(if calm { 700 } else { 300 });
        let heartbeat_interval = lease_ttl / dice.between(3, 8) as u32;
        // Whoever works looks up after a few polls, and the heart waits a fourth of its interval for that.
        let costs = Costs::draw(&mut dice.fork(1), heartbeat_interval / if slow { 16 } else { 12 });
        // Where a poll costs something, a backlog of them is to cost more than a lease lasts.
        let runs_max = if costs.poll_max > lease_ttl / 64 { 30 } else { 10 };
        Self {
            slots,
            lease_ttl,
            heartbeat_interval,
            costs,
            queue_shards: dice.between(1, 6) as u16,
            runs: dice.between(1, runs_max),
            forgetful: dice.chance(150),
            calm,
            broken: !calm && dice.chance(250),
            sleepy: dice.chance(250),
            deadly: deadly && !calm,
            leaps: !calm && dice.chance(150),
            latency_max: if slow { lease_ttl / dice.between(12, 60) as u32 } else { LATENCY_USUAL },
            disturbed_for: lease_ttl * dice.between(5, 30) as u32,
        }
    }

    /// When the workers are first there.
    pub(crate) fn starts(&self, dice: &mut Dice) -> Vec<(Duration, Action)> {
        let mut start = |slot| {
            let at_once = self.calm || slot == 0;
            let at = if at_once { Duration::ZERO } else { dice.time(MOMENT, self.lease_ttl * 2) };
            (at, self.start(slot, dice))
        };
        (0..self.slots.len()).map(&mut start).collect()
    }

    fn start(&self, slot: usize, dice: &mut Dice) -> Action {
        Action::Start { slot, broken: self.broken && dice.chance(400) }
    }

    /// What will happen besides, each with what makes good for it, and when.
    pub(crate) fn disturbances(&self, dice: &mut Dice) -> Vec<Vec<(Duration, Action)>> {
        let many = dice.chance(700);
        let count = if self.calm { 0 } else { dice.between(0, if many { 20 } else { 3 }) };
        (0..count).map(|_| self.disturbance(dice)).collect()
    }

    fn disturbance(&self, dice: &mut Dice) -> Vec<(Duration, Action)> {
        let ttl = self.lease_ttl;
        let short = ttl.min(Duration::from_secs(60));
        // Half of them early, when everything happens at once.
        let early = dice.time(MOMENT, self.disturbed_for);
        let whenever = Duration::from_micros(dice.below(self.disturbed_for.as_micros() as u64));
        let at = if dice.chance(500) { early } else { whenever };
        let slot = dice.below(self.slots.len() as u64) as usize;
        let back = at + dice.time(MOMENT, ttl * 2);
        if self.leaps && dice.chance(150) {
            return vec![(at, Action::Leap { by: dice.time(ttl / 10, ttl * 3) })];
        }
        let action = match dice.below(if self.forgetful { 14 } else { 10 }) {
            0..4 => Action::Crash { slot },
            4 => Action::Stop { slot },
            5..8 => Action::Freeze { slot, time: dice.time(ttl / 10, ttl * 3) },
            8 => Action::Outage { time: dice.time(MOMENT, short * 2) },
            9 => Action::CutOff { slot, time: dice.time(MOMENT, short * 2) },
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

/// How long leases last at most in a deadly world. Activities take up to twice as long before they end their process, and
/// a run that does so less often than every ten minutes is not searched for.
const DEADLY_TTL_MAX: Duration = Duration::from_secs(16);

/// The shortest time that matters to anybody.
pub(crate) const MOMENT: Duration = Duration::from_millis(1);
