//! Random workflows: a plan is a small program of durable calls, drawn from the seed and given to a run as its input.
//! It says what the result of an undisturbed run is, unless that depends on the order of events.

use std::time::Duration;

use pgworkflows_core::workflow::Carried;
use pgworkflows_testkit::runtime::dice::Dice;
use serde::{Deserialize, Serialize};

use crate::config::WorldConfig;
use crate::workflow::PlanWorkflow;

/// One step of a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Op {
    /// Executes an activity.
    Work(Work),
    /// Executes an inline activity.
    Step(Work),
    /// Sleeps.
    Sleep { millis: u64 },
    /// Waits for a signal.
    Take { signal: usize },
    /// Waits for a signal with a timeout.
    TakeFor { signal: usize, millis: u64 },
    /// Takes an update, or waits for it for some time.
    Answer { millis: Option<u64> },
    /// Serves updates, and signals of other runs, beside an op. It is never within another op of this kind.
    Serve(Serve, Box<Op>),
    /// Sends a signal that no plan waits for: to itself, or to the run with a key, which may not exist.
    Tell { key: Option<u64> },
    /// Starts a child with a plan of its own.
    Child(Child),
    /// Waits for a child that the run before has carried along.
    Carried(Carried<PlanWorkflow>),
    /// Waits until the run is cancelled. It is the plan of children that end because they are asked to, and never otherwise.
    Endless,
    /// Draws numbers, all of them at once.
    Draw { times: u32 },
    /// Registers a compensation.
    OnFailure(Work),
    /// Executes one op after the other.
    Sequence(Vec<Op>),
    /// Executes all ops at once and waits for all of them, in an iterator.
    All(Vec<Op>),
    /// The same for two ops, in a tuple.
    Both(Box<Op>, Box<Op>),
    /// Executes a branch for each op, at most that many at a time; fails with the first failure, or after all.
    Each { limit: usize, settles: bool, ops: Vec<Op> },
    /// Executes all ops at once and waits for the first; the others are dropped.
    Race(Vec<Op>),
    /// Waits for one of two ops after the other, in the order in which they end.
    Select(Box<Op>, Box<Op>),
    /// Lets two ops race for a mutex. The first one has it, so the other one never begins.
    Locked(Box<Op>, Box<Op>),
    /// Schedules an activity, executes an op, and waits for the activity.
    Spawned(Work, Box<Op>),
    /// Executes an op that is shielded from cancellations.
    Shielded(Box<Op>),
    /// Executes an op within a scope that is never cancelled.
    Scoped(Box<Op>),
    /// Compensates what is registered, and waits for it or, after some time, does not.
    Undo { millis: Option<u64> },
    /// Continues with a clean-up if the op fails or is cancelled.
    Shield(Box<Op>, Work),
    /// Fails.
    Fail,
    /// Fails in the first attempts of the whole run.
    Falter { times: u32 },
    /// Does nothing; a broken build panics here.
    Mine,
    /// Continues as new with another plan. It is the last op of a plan without compensations.
    Onward(Box<Op>),
}

/// What an activity or a step does.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) value: u64,
    pub(crate) millis: u64,
    /// How many attempts fail before one succeeds.
    pub(crate) failures: u32,
    pub(crate) failure_mode: FailureMode,
    pub(crate) attempts_max: u32,
    pub(crate) retry_millis: u64,
    pub(crate) at_most_once: bool,
    pub(crate) start_to_close: Option<u64>,
    pub(crate) schedule_to_close: Option<u64>,
    /// Whether it is sent to the activity queue.
    pub(crate) is_task: bool,
    /// Whether its outcome counts even if its run gives it up.
    pub(crate) is_transactional: bool,
    /// Whether it is sent to the worker that executed an activity before it.
    pub(crate) follows: bool,
}

/// How updates are served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Serve {
    /// What the handler does for some of them.
    pub(crate) work: Work,
    /// How many have to be answered before the main line goes on after the op.
    pub(crate) until: Option<u64>,
    /// Whether the main line then waits for those that have arrived.
    pub(crate) drains: bool,
}

/// A child to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Child {
    pub(crate) plan: Box<Op>,
    /// Its key, which children of other runs may have as well.
    pub(crate) key: Option<u64>,
    /// The queue in which it runs, if that is named, which is looked up then.
    pub(crate) queue: Option<String>,
    /// The numbers of what becomes of it if its parent gives it up, and at the end of its parent.
    pub(crate) policies: [usize; 2],
    pub(crate) kept: Kept,
}

/// What a plan does with a child that it has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kept {
    /// It waits for the outcome.
    ForOutcome,
    /// It holds the child to the end of the run.
    ToTheEnd,
    /// It drops the child after a while.
    ForAWhile { millis: u64 },
    /// It carries the child along: another plan waits for it, if one follows.
    Along,
}

/// How an attempt fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailureMode {
    #[default]
    Error,
    Panic,
    NonRetryable,
    /// It ends the process of its worker, so its outcome is lost.
    Deadly,
}

/// The queue of the runs that clients start, and another one, in which some children run.
pub(crate) const QUEUES: [&str; 2] = ["default", "annex"];

/// The names of the signals that plans take.
pub(crate) const SIGNALS: [&str; 2] = ["left", "right"];

/// The result of an undisturbed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Value(u64),
    Failure,
    /// It depends on the order of events.
    Open,
}

/// Draws plans.
pub(crate) struct Planner<'a> {
    pub(crate) dice: &'a mut Dice,
    pub(crate) config: &'a WorldConfig,
    pub(crate) ops_left: u32,
    /// Whether its activities may end the process of their worker.
    pub(crate) deadly: bool,
    /// Whether it may register compensations.
    pub(crate) compensates: bool,
    /// Whether the whole run is tried again if it fails.
    pub(crate) retries: bool,
}

impl Planner<'_> {
    pub(crate) fn plan(&mut self) -> Op {
        // Drawn apart, so that the other plans of a seed stay as they were.
        let goes_on = self.dice.fork(100).chance(250);
        self.compensates = !goes_on;
        let Op::Sequence(mut ops) = self.one_plan() else { unreachable!("a plan is a sequence") };
        if goes_on {
            self.compensates = true;
            ops.push(Op::Onward(Box::new(self.one_plan())));
        }
        Op::Sequence(ops)
    }

    fn one_plan(&mut self) -> Op {
        let count = self.dice.between(1, 4);
        // Drawn apart, as above.
        let mut apart = self.dice.fork(101);
        let mut ops: Vec<Op> = (0..count).map(|_| self.op(0)).collect();
        if apart.chance(300) {
            let place = apart.below(count) as usize;
            let served = Box::new(ops.remove(place));
            ops.insert(place, Op::Serve(self.serve(&mut apart), served));
        }
        if self.retries && apart.chance(700) {
            ops.insert(apart.below(count + 1) as usize, Op::Falter { times: apart.between(1, 2) as u32 });
        }
        if self.config.broken && self.dice.chance(700) {
            ops.insert(self.dice.below(count + 1) as usize, Op::Mine);
        }
        Op::Sequence(ops)
    }

    fn op(&mut self, depth: u32) -> Op {
        self.ops_left = self.ops_left.saturating_sub(1);
        let deep = depth >= 3 || self.ops_left == 0;
        if self.config.sleepy && self.dice.chance(700) {
            return Op::Sequence((0..self.dice.between(2, 8)).map(|_| self.nap()).collect());
        }
        match self.dice.below(if deep { 60 } else { 100 }) {
            0..25 => Op::Work(self.work()),
            25..30 => Op::Step(self.work()),
            30..35 => Op::Sleep { millis: self.millis(20) },
            35..40 => self.nap(),
            40..43 => self.take(),
            43..46 => Op::Child(self.child()),
            46..48 => Op::Tell { key: self.dice.chance(700).then(|| self.dice.below(8)) },
            48..51 => Op::TakeFor { signal: self.signal(), millis: self.millis(5) },
            51..53 => Op::Draw { times: self.times() },
            53..54 => Op::Mine,
            54..59 if self.compensates => Op::OnFailure(self.work()),
            54..59 => Op::Step(self.work()),
            59..60 => Op::Fail,
            60..68 => Op::Sequence(self.ops(depth)),
            68..75 => Op::All(self.ops(depth)),
            draw @ 75..80 => {
                let ops = self.ops(depth);
                Op::Each { limit: ops.len().div_ceil(2), settles: draw % 2 == 0, ops }
            }
            80..82 => Op::Both(self.boxed(depth), self.boxed(depth)),
            82..84 => Op::Spawned(self.work(), self.boxed(depth)),
            84..86 => Op::Locked(self.boxed(depth), self.boxed(depth)),
            86..89 => Op::Select(self.boxed(depth), self.boxed(depth)),
            89..93 => Op::Race(self.ops(depth)),
            93..95 => Op::Shielded(self.boxed(depth)),
            95..96 => Op::Scoped(self.boxed(depth)),
            draw @ 96..98 => Op::Undo { millis: (draw == 97).then(|| self.millis(2).max(1)) },
            _ => Op::Shield(self.boxed(depth), self.work()),
        }
    }

    /// A signal or, drawn apart, an update.
    fn take(&mut self) -> Op {
        let mut apart = self.dice.fork(102);
        let signal = self.signal();
        match apart.below(10) {
            0..5 => Op::Take { signal },
            5..8 => Op::Answer { millis: None },
            _ => Op::Answer { millis: Some(self.config.lease_ttl.as_millis() as u64 * apart.between(1, 5)) },
        }
    }

    fn serve(&self, apart: &mut Dice) -> Serve {
        let unit = self.config.lease_ttl.as_millis() as u64;
        let work = Work {
            value: 1,
            millis: apart.below(unit),
            attempts_max: 3,
            retry_millis: 10,
            ..Work::default()
        };
        let until = apart.chance(400).then(|| apart.between(1, 3));
        Serve { work: Work { failures: apart.below(3) as u32, ..work }, until, drains: apart.chance(500) }
    }

    /// A child does one thing or, as another run, two, waits for no signal, and has no children, or there would be no end.
    fn child(&mut self) -> Child {
        // Drawn apart, as above.
        let mut apart = self.dice.fork(103);
        let plan = match self.dice.below(10) {
            0..5 => Op::Work(self.work()),
            5..8 => self.nap(),
            8..9 => Op::Fail,
            _ => Op::Shield(Box::new(self.nap()), self.work()),
        };
        let kept = match self.dice.below(10) {
            0..6 => Kept::ForOutcome,
            6..8 => Kept::ToTheEnd,
            _ => Kept::ForAWhile { millis: self.millis(1) },
        };
        let key = self.dice.chance(300).then(|| self.dice.below(4));
        let names_queue = self.dice.chance(200);
        let mut policy = || self.dice.below(4) as usize;
        let policies = [policy(), policy()];
        let unit = self.config.lease_ttl.as_millis() as u64;
        let plan = match apart.chance(250) {
            true => {
                let next = Op::Sleep { millis: apart.between(unit / 8, unit / 2) };
                Op::Sequence(vec![plan, Op::Onward(Box::new(next))])
            }
            false => plan,
        };
        let kept = if apart.chance(300) { Kept::Along } else { kept };
        let queue = match self.config.has_annex && apart.chance(500) {
            true => Some(QUEUES[1].to_owned()),
            false => names_queue.then(|| QUEUES[0].to_owned()),
        };
        if kept != Kept::Along && apart.chance(200) {
            // Nothing waits for its outcome, and every policy asks it to end.
            let kept = if kept == Kept::ForOutcome { Kept::ToTheEnd } else { kept };
            let policies = policies.map(|policy| policy % 3);
            return Child { plan: Box::new(Op::Endless), key, queue, policies, kept };
        }
        Child { plan: Box::new(plan), key, queue, policies, kept }
    }

    /// A sleep that is long enough for disturbances, and short beside the lives of the workers.
    fn nap(&mut self) -> Op {
        let unit = self.config.lease_ttl.as_millis() as u64;
        Op::Sleep { millis: self.dice.between(unit / 8, unit / 2) }
    }

    /// Mostly once. Now and then the numbers of one turn do not fit into a frame, or into two.
    fn times(&mut self) -> u32 {
        if self.dice.chance(200) { self.dice.between(900, 2_200) as u32 } else { 1 }
    }

    fn ops(&mut self, depth: u32) -> Vec<Op> {
        let count = self.dice.between(1, 4);
        (0..count).map(|_| self.op(depth + 1)).collect()
    }

    fn boxed(&mut self, depth: u32) -> Box<Op> {
        Box::new(self.op(depth + 1))
    }

    fn signal(&mut self) -> usize {
        self.dice.below(SIGNALS.len() as u64) as usize
    }

    fn millis(&mut self, units_max: u32) -> u64 {
        self.dice.time(Duration::from_millis(1), self.config.lease_ttl * units_max).as_millis() as u64
    }

    fn work(&mut self) -> Work {
        let millis = if self.dice.chance(300) { 0 } else { self.millis(2) };
        let failure_mode = match self.dice.below(10) {
            _ if self.deadly && self.dice.chance(500) => FailureMode::Deadly,
            0..6 => FailureMode::Error,
            6..8 => FailureMode::Panic,
            _ => FailureMode::NonRetryable,
        };
        let failures = if failure_mode != FailureMode::Deadly && self.dice.chance(600) {
            0
        } else {
            self.dice.between(1, 3) as u32
        };
        let value = self.dice.below(1_000);
        Work {
            value,
            millis,
            failures,
            failure_mode,
            attempts_max: self.dice.between(1, 4) as u32,
            retry_millis: self.millis(1).max(1),
            at_most_once: self.dice.chance(100),
            start_to_close: self.dice.chance(100).then(|| self.millis(2).max(1)),
            schedule_to_close: self.dice.chance(100).then(|| self.millis(4).max(1)),
            is_task: self.config.tasks && self.dice.chance(400),
            is_transactional: self.config.tasks && value.is_multiple_of(3),
            follows: self.config.tasks && value.is_multiple_of(4),
        }
    }
}

impl Work {
    pub(crate) fn expected(&self) -> Expected {
        let is_timed = self.schedule_to_close.is_some() || self.start_to_close.is_some();
        if is_timed || self.at_most_once || self.failure_mode == FailureMode::Deadly {
            return Expected::Open;
        }
        let given_up = self.failure_mode == FailureMode::NonRetryable || self.failures >= self.attempts_max;
        if self.failures > 0 && given_up { Expected::Failure } else { Expected::Value(self.value) }
    }
}

impl Op {
    /// The result of the op if it is not cancelled.
    pub(crate) fn expected(&self) -> Expected {
        match self {
            Self::Work(work) | Self::Step(work) => work.expected(),
            Self::Sleep { .. } | Self::Take { .. } | Self::Answer { millis: None } => Expected::Value(1),
            Self::OnFailure(_) | Self::Tell { .. } | Self::Mine => Expected::Value(0),
            Self::Shielded(op) | Self::Scoped(op) | Self::Serve(_, op) => op.expected(),
            Self::Undo { .. } => Expected::Value(0),
            Self::TakeFor { .. } | Self::Answer { .. } | Self::Draw { .. } | Self::Race(_) => Expected::Open,
            Self::Child(_) | Self::Carried(_) | Self::Falter { .. } | Self::Endless => Expected::Open,
            Self::Sequence(ops) => {
                // Nothing after a failure is executed.
                let mut sum = 0;
                for op in ops {
                    if let Self::Onward(next) = op {
                        return next.expected();
                    }
                    match op.expected() {
                        Expected::Value(value) => sum += value,
                        other => return other,
                    }
                }
                Expected::Value(sum)
            }
            Self::All(ops) | Self::Each { ops, .. } => all(ops.iter().map(Self::expected)),
            Self::Both(one, other) | Self::Select(one, other) => all([one.expected(), other.expected()]),
            Self::Spawned(work, op) => all([work.expected(), op.expected()]),
            Self::Locked(one, _) => one.expected(),
            Self::Shield(op, work) => match op.expected() {
                Expected::Failure => work.expected(),
                other => other,
            },
            Self::Onward(next) => next.expected(),
            Self::Fail => Expected::Failure,
        }
    }

    /// The plan with which a run continues after this one.
    pub(crate) fn split_onward(self) -> (Self, Option<Self>) {
        match self {
            Self::Sequence(mut ops) => match ops.pop() {
                Some(Self::Onward(next)) => (Self::Sequence(ops), Some(*next)),
                last => (Self::Sequence(ops.into_iter().chain(last).collect()), None),
            },
            other => (other, None),
        }
    }

    /// The same plan, before or after which it waits for children that go along.
    pub(crate) fn awaiting(self, children: Vec<Carried<PlanWorkflow>>) -> Self {
        if children.is_empty() {
            return self;
        }
        let is_first = children.len() % 2 == 0;
        let awaited = Self::All(children.into_iter().map(Self::Carried).collect());
        Self::Sequence(if is_first { vec![awaited, self] } else { vec![self, awaited] })
    }

    /// How many signals of that name it waits for at most.
    pub(crate) fn takes(&self, signal: usize) -> u64 {
        let takes = match self {
            Self::Take { signal: name } | Self::TakeFor { signal: name, .. } => *name == signal,
            _ => false,
        };
        u64::from(takes) + self.parts().into_iter().map(|op| op.takes(signal)).sum::<u64>()
    }

    /// Whether it waits for updates for as long as it takes.
    pub(crate) fn needs_updates(&self) -> bool {
        let needs = match self {
            Self::Answer { millis } => millis.is_none(),
            Self::Serve(serve, _) => serve.until.is_some(),
            _ => false,
        };
        needs || self.parts().into_iter().any(Self::needs_updates)
    }

    /// The ops that it executes.
    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Sequence(ops) | Self::All(ops) | Self::Race(ops) | Self::Each { ops, .. } => {
                ops.iter().collect()
            }
            Self::Both(one, other) | Self::Select(one, other) | Self::Locked(one, other) => vec![one, other],
            Self::Shield(op, _)
            | Self::Spawned(_, op)
            | Self::Serve(_, op)
            | Self::Onward(op)
            | Self::Shielded(op)
            | Self::Scoped(op) => vec![op],
            Self::Work(_)
            | Self::Step(_)
            | Self::Sleep { .. }
            | Self::Take { .. }
            | Self::TakeFor { .. }
            | Self::Answer { .. }
            | Self::Draw { .. }
            | Self::Child(_)
            | Self::Carried(_)
            | Self::Endless
            | Self::Tell { .. }
            | Self::OnFailure(_)
            | Self::Undo { .. }
            | Self::Falter { .. }
            | Self::Mine
            | Self::Fail => Vec::new(),
        }
    }
}

fn all(parts: impl IntoIterator<Item = Expected>) -> Expected {
    let mut sum = Expected::Value(0);
    for part in parts {
        sum = match (sum, part) {
            (Expected::Open, _) | (_, Expected::Open) => Expected::Open,
            (Expected::Failure, _) | (_, Expected::Failure) => Expected::Failure,
            (Expected::Value(sum), Expected::Value(value)) => Expected::Value(sum + value),
        };
    }
    sum
}
