//! Faults drawn from a seed: the same seed and the same calls give the same faults. It must not know what a
//! call is about.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use pgworkflows_core::store::Hint;

use super::{Fault, FaultPoint, Faults, Stage};

/// How often each fault is to happen, in one thousandth of the points at which it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultWeights {
    /// Requests lost.
    pub request_lost: u32,
    /// Requests, commits and acknowledgements that wait for a few polls of others.
    pub delayed: u32,
    /// Requests delivered twice.
    pub repeated: u32,
    /// Requests that are given up, but still under way.
    pub lingering: u32,
    /// Commits lost.
    pub commit_lost: u32,
    /// Acknowledgements lost.
    pub acknowledgement_lost: u32,
    /// Hints lost.
    pub hint_lost: u32,
    /// Hints repeated.
    pub hint_repeated: u32,
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field counts what the field of the same name in `FaultWeights` orders")]
#[non_exhaustive]
pub struct FaultCounts {
    pub request_lost: u64,
    pub delayed: u64,
    pub repeated: u64,
    pub lingering: u64,
    pub commit_lost: u64,
    pub acknowledgement_lost: u64,
    pub hint_lost: u64,
    pub hint_repeated: u64,
}

/// Faults by chance, repeatable by their seed.
#[derive(Debug)]
pub struct SeededFaults(Mutex<Dice>);

#[derive(Debug)]
struct Dice {
    state: u64,
    weights: FaultWeights,
    counts: FaultCounts,
}

impl SeededFaults {
    /// Faults with these weights.
    pub fn new(seed: u64, weights: FaultWeights) -> Self {
        Self(Mutex::new(Dice { state: seed, weights, counts: FaultCounts::default() }))
    }

    /// Changes the weights from now on. The default ones end all faults: the quiet phase.
    pub fn set_weights(&self, weights: FaultWeights) {
        self.dice().weights = weights;
    }

    /// How often each fault has happened so far.
    pub fn counts(&self) -> FaultCounts {
        self.dice().counts
    }

    fn dice(&self) -> std::sync::MutexGuard<'_, Dice> {
        self.0.lock().expect("nothing panics while it rolls the dice")
    }
}

impl Faults for SeededFaults {
    fn at(&self, point: &FaultPoint<'_>) -> Fault {
        let mut dice = self.dice();
        let Dice { weights, .. } = *dice;
        if dice.roll(weights.delayed) {
            dice.counts.delayed += 1;
            let polls = 1 + dice.next() % 16;
            return Fault::Delay(Box::pin(Yield(polls)));
        }
        match point.stage {
            Stage::Request => {
                if dice.roll(weights.request_lost) {
                    dice.counts.request_lost += 1;
                    return Fault::Lose;
                }
                if dice.roll(weights.repeated) {
                    dice.counts.repeated += 1;
                    return Fault::Repeat;
                }
                if dice.roll(weights.lingering) {
                    dice.counts.lingering += 1;
                    return Fault::Linger;
                }
            }
            Stage::Commit => {
                if dice.roll(weights.commit_lost) {
                    dice.counts.commit_lost += 1;
                    return Fault::Lose;
                }
            }
            Stage::Acknowledgement => {
                if dice.roll(weights.acknowledgement_lost) {
                    dice.counts.acknowledgement_lost += 1;
                    return Fault::Lose;
                }
            }
        }
        Fault::Proceed
    }

    fn hint(&self, _hint: Hint) -> u32 {
        let mut dice = self.dice();
        let Dice { weights, .. } = *dice;
        if dice.roll(weights.hint_lost) {
            dice.counts.hint_lost += 1;
            return 0;
        }
        if dice.roll(weights.hint_repeated) {
            dice.counts.hint_repeated += 1;
            return 2;
        }
        1
    }
}

impl Dice {
    /// Whether something happens that is to happen `per_mille` times in a thousand. A weight of zero draws
    /// nothing, so that switching one fault off leaves the others as they were.
    fn roll(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.next() % 1000 < u64::from(per_mille)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): ten lines, and good enough to choose faults.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Lets others be polled that many times.
struct Yield(u64);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
