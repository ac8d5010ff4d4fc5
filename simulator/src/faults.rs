//! Faults of the simulated store, drawn from the seed at every point of every call, in virtual time. It must not know
//! what a call is about, except for appends and releases, which the ledger is told of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{AppendNo, LeaseId};
use pgworkflows_core::store::{Append, Hint, StoreError};
use pgworkflows_memory::{Call, Fact, Fault, FaultPoint, Faults, Stage};
use pgworkflows_testkit::runtime::dice::Dice;
use pgworkflows_testkit::runtime::time::{Owner, Time};

use crate::cost::{Costs, LOCK_WAITS_PER_MILLE};
use crate::ledger::Ledger;
use crate::mask::Mask;

/// How often each fault happens, per thousand points at which it can.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights {
    request_lost: u64,
    repeated: u64,
    lingering: u64,
    commit_lost: u64,
    acknowledgement_lost: u64,
    delayed: u64,
    refused: u64,
    hint_lost: u64,
    hint_repeated: u64,
    /// How long a delayed call waits at most.
    delay_max: Duration,
}

impl Weights {
    /// The weights of one world. Some are zero, because one fault may hide what another would show.
    pub(crate) fn draw(dice: &mut Dice, lease_ttl: Duration) -> Self {
        let mut weight = |max: u64| if dice.chance(400) { 0 } else { dice.between(1, max) };
        Self {
            request_lost: weight(60),
            repeated: weight(100),
            lingering: weight(60),
            commit_lost: weight(60),
            acknowledgement_lost: weight(100),
            delayed: weight(60),
            refused: weight(30),
            hint_lost: weight(1000),
            hint_repeated: weight(200),
            delay_max: lease_ttl * 2,
        }
    }
}

/// Disturbs the simulated store, and tells the ledger what happens in it.
#[derive(Debug)]
pub(crate) struct SimFaults {
    time: Arc<Time>,
    ledger: Arc<Ledger>,
    /// How long an undisturbed call takes at most.
    latency_max: Duration,
    costs: Costs,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    dice: Dice,
    weights: Weights,
    counts: BTreeMap<&'static str, u64>,
    /// Until this time, the store is unreachable for every owner.
    outage_until: Duration,
    /// Before these times, these owners do not reach the store.
    cut_off_until: BTreeMap<Owner, Duration>,
    /// When lingering requests arrive.
    arrivals: Vec<Duration>,
    /// Which faults are injected, and which part of the world the next fault is.
    mask: Mask,
    next_part: u32,
    /// The last append that was sent under each lease.
    appends: BTreeMap<LeaseId, (AppendNo, [u8; 32])>,
}

impl Inner {
    /// Draws when a request arrives whose caller gives up now.
    fn linger(&mut self, now: Duration) {
        let delay = self.dice.time(LATENCY_MIN, self.weights.delay_max * 2);
        self.arrivals.push(now + delay);
    }

    /// Counts a fault that was drawn. Its number, if it is injected.
    fn inject(&mut self, kind: &'static str) -> Option<u32> {
        let part = self.next_part;
        self.next_part += 1;
        let kept = self.mask.keeps(part);
        if kept {
            *self.counts.entry(kind).or_default() += 1;
        }
        kept.then_some(part)
    }
}

impl SimFaults {
    /// Faults of which the first is that part of the world.
    pub(crate) fn new(
        time: Arc<Time>,
        ledger: Arc<Ledger>,
        dice: Dice,
        (weights, latency_max, costs): (Weights, Duration, Costs),
        (mask, first_part): (Mask, u32),
    ) -> Self {
        let inner = Inner {
            dice,
            weights,
            counts: BTreeMap::new(),
            outage_until: Duration::ZERO,
            cut_off_until: BTreeMap::new(),
            arrivals: Vec::new(),
            mask,
            next_part: first_part,
            appends: BTreeMap::new(),
        };
        Self { time, ledger, latency_max, costs, inner: Mutex::new(inner) }
    }

    /// Ends all faults.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.weights = Weights::default();
        inner.outage_until = Duration::ZERO;
        inner.cut_off_until.clear();
    }

    pub(crate) fn outage(&self, until: Duration) {
        self.lock().outage_until = until;
        self.count("outage");
    }

    pub(crate) fn cut_off(&self, owner: Owner, until: Duration) {
        self.lock().cut_off_until.insert(owner, until);
        self.count("partition");
    }

    /// How many parts the world has met.
    pub(crate) fn parts(&self) -> u32 {
        self.lock().next_part
    }

    /// Takes the times at which lingering requests arrive.
    pub(crate) fn take_arrivals(&self) -> Vec<Duration> {
        std::mem::take(&mut self.lock().arrivals)
    }

    /// Counts a fault that was injected, here or elsewhere.
    pub(crate) fn count(&self, kind: &'static str) {
        *self.lock().counts.entry(kind).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the store will be within reach again, if it is not.
    fn unreachable_until(&self, now: Duration, owner: Owner) -> Option<Duration> {
        let inner = self.lock();
        let cut_off_until = inner.cut_off_until.get(&owner).copied();
        cut_off_until.max(Some(inner.outage_until)).filter(|until| now < *until)
    }

    /// Draws a fault at a point: its name and number, if it is injected.
    fn draw(&self, point: &FaultPoint<'_>) -> Option<(&'static str, u32)> {
        let mut inner = self.lock();
        let Inner { dice, weights, .. } = &mut *inner;
        // Clients fail at once if the store is misconfigured; workers wait until that is fixed.
        let refused = if point.session.is_some() { weights.refused } else { 0 };
        let candidates: &[(&'static str, u64)] = match point.stage {
            Stage::Request => &[
                ("request lost", weights.request_lost),
                ("lingering", weights.lingering),
                ("delayed", weights.delayed),
                ("refused", refused),
            ],
            Stage::Commit => &[("commit lost", weights.commit_lost), ("delayed", weights.delayed)],
            Stage::Acknowledgement => {
                &[("acknowledgement lost", weights.acknowledgement_lost), ("delayed", weights.delayed)]
            }
        };
        let drawn = candidates.iter().find(|(_, weight)| dice.chance(*weight)).map(|(kind, _)| *kind);
        drawn.and_then(|kind| Some((kind, inner.inject(kind)?)))
    }

    /// Part of invariant 5: an append whose outcome is unknown is sent again unchanged, or not at all. No append is
    /// refused here because of its content, so no other append may have its number.
    fn check_request(&self, append: &Append) {
        let sent = (append.number, append.digest);
        let before = self.lock().appends.insert(append.lease, sent);
        if before.is_some_and(|(number, digest)| number == append.number && digest != append.digest) {
            let (number, lease) = (append.number, append.lease);
            self.ledger
                .violated(format!("append {number} of lease {lease} was sent again with other contents"));
        }
    }

    /// The time that an undisturbed point takes.
    fn usual(&self, point: &FaultPoint<'_>) -> Fault {
        let Self { latency_max, costs, .. } = *self;
        let mut inner = self.lock();
        let delay = match point.stage {
            Stage::Commit if costs.lock_max.is_zero() || !inner.dice.chance(LOCK_WAITS_PER_MILLE) => {
                Duration::ZERO
            }
            Stage::Commit => inner.dice.time(LATENCY_MIN, costs.lock_max),
            // Where the store is slow, answers take time as well.
            _ if latency_max > LATENCY_USUAL => inner.dice.time(latency_max / 8, latency_max),
            Stage::Request => inner.dice.time(LATENCY_MIN, latency_max),
            Stage::Acknowledgement => Duration::ZERO,
        };
        let delay = delay + costs.transfer(point.bytes);
        if delay.is_zero() {
            return Fault::Proceed;
        }
        let (sleep, time, reading) =
            (self.time.sleep(delay), Arc::clone(&self.time), costs.reading(point.bytes));
        Fault::Delay(Box::pin(async move {
            sleep.await;
            time.work(reading);
        }))
    }

    fn delay(&self, from: Duration, to: Duration) -> Fault {
        let delay = self.lock().dice.time(from, to);
        Fault::Delay(Box::pin(self.time.sleep(delay)))
    }
}

/// How long an undisturbed call takes at least, and in most worlds at most.
const LATENCY_MIN: Duration = Duration::from_micros(100);
pub(crate) const LATENCY_USUAL: Duration = Duration::from_millis(3);

/// How often a request waits for the end of an outage.
const HELD_PER_MILLE: u64 = 300;

/// How often a request in flight outlives its caller.
const OUTLIVES_PER_MILLE: u64 = 700;

impl Faults for SimFaults {
    fn at(&self, point: &FaultPoint<'_>) -> Fault {
        let (now, owner) = (self.time.now(), self.time.lock().current);
        let unreachable = self.unreachable_until(now, owner);
        if let (Call::Append(append), Stage::Request) = (point.call, point.stage) {
            self.check_request(append);
        }
        if let (Call::Release(release), Stage::Request) = (point.call, point.stage) {
            self.ledger.asked_to_release(release.lease);
        }
        let drawn = self.draw(point);
        let words = || {
            let call = format!("{:?}", point.call);
            let call = call.split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
            let fault = drawn.map(|(kind, part)| format!("{kind} (part {part})")).unwrap_or_default();
            let fault = if unreachable.is_some() { "unreachable".to_owned() } else { fault };
            format!("{call} of {} at {:?}: {fault}", owner.0, point.stage)
        };
        let number = drawn.map_or(0, |(kind, _)| kind.len() as u64) << 8 | point.stage as u64;
        self.time.trace("call", number, words);
        match (unreachable, point.stage) {
            // The network fails at once, or holds the request until the store is within reach.
            (Some(until), Stage::Request) if self.lock().dice.chance(HELD_PER_MILLE) => {
                return Fault::Delay(Box::pin(self.time.sleep(until - now)));
            }
            (Some(_), Stage::Request | Stage::Acknowledgement) => return Fault::Lose,
            (Some(_), Stage::Commit) | (None, _) => {}
        }
        match drawn.map(|(kind, _)| kind) {
            Some("delayed") => {
                let delay_max = self.lock().weights.delay_max;
                self.delay(self.latency_max, delay_max.max(self.latency_max))
            }
            // A request that a busy thread has yet to send is not in flight.
            Some("lingering") if !self.time.is_computed_in() => {
                self.lock().linger(now);
                Fault::Linger
            }
            Some("refused") => {
                Fault::Refuse(StoreError::misconfigured("a right is missing until it is granted"))
            }
            Some(_) => Fault::Lose,
            None => self.usual(point),
        }
    }

    fn outlives_caller(&self, _point: &FaultPoint<'_>) -> bool {
        let now = self.time.now();
        let mut inner = self.lock();
        let is_sent = !self.time.is_computed_in();
        let drawn = is_sent && inner.weights.lingering > 0 && inner.dice.chance(OUTLIVES_PER_MILLE);
        if !drawn || inner.inject("outlived its caller").is_none() {
            return false;
        }
        inner.linger(now);
        true
    }

    fn arrives_again(&self, point: &FaultPoint<'_>) -> bool {
        let now = self.time.now();
        let mut inner = self.lock();
        let Inner { dice, weights, .. } = &mut *inner;
        let drawn = point.call.has_effect() && dice.chance(weights.repeated);
        if !drawn || inner.inject("repeated").is_none() {
            return false;
        }
        inner.linger(now);
        true
    }

    fn hint(&self, _hint: Hint) -> u32 {
        let mut inner = self.lock();
        let Inner { dice, weights, .. } = &mut *inner;
        let (kind, times) = if dice.chance(weights.hint_lost) {
            ("hint lost", 0)
        } else if dice.chance(weights.hint_repeated) {
            ("hint repeated", 2)
        } else {
            return 1;
        };
        inner.inject(kind).map_or(1, |_| times)
    }

    fn happened(&self, fact: &Fact, now: Timestamp) {
        self.ledger.happened(fact, now);
    }
}
