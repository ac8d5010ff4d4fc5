//! Random faults from a seed: the same seed and the same calls give the same faults. It must not know what a call does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use pgworkflows_core::store::Hint;

use crate::faults::{Fault, FaultPoint, Faults, Stage};

/// How often each fault happens, in thousandths of the points at which it can: 0 to 1000, by default 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultWeights {
    /// Requests lost.
    pub request_lost: u32,
    /// Requests, commits and acknowledgements delayed by 1 to 16 polls.
    pub delayed: u32,
    /// Requests delivered twice.
    pub repeated: u32,
    /// Requests whose caller gets an error while they are still in flight.
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
#[expect(
    missing_docs,
    reason = "each field counts the faults of the field with the same name in `FaultWeights`"
)]
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

/// Random faults, repeatable by their seed.
#[derive(Debug)]
pub struct SeededFaults(Mutex<Generator>);

#[derive(Debug)]
struct Generator {
    state: u64,
    weights: FaultWeights,
    counts: FaultCounts,
}

impl SeededFaults {
    /// Creates faults with these weights.
    pub fn new(seed: u64, weights: FaultWeights) -> Self {
        Self(Mutex::new(Generator { state: seed, weights, counts: FaultCounts::default() }))
    }

    /// Changes the weights from now on. The default weights end all faults.
    pub fn set_weights(&self, weights: FaultWeights) {
        self.generator().weights = weights;
    }

    /// How often each fault has happened so far.
    pub fn counts(&self) -> FaultCounts {
        self.generator().counts
    }

    fn generator(&self) -> std::sync::MutexGuard<'_, Generator> {
        self.0.lock().expect("nothing panics while it draws a fault")
    }
}

impl Faults for SeededFaults {
    fn at(&self, point: &FaultPoint<'_>) -> Fault {
        let mut generator = self.generator();
        let Generator { weights, .. } = *generator;
        if generator.draws(weights.delayed) {
            generator.counts.delayed += 1;
            let polls = 1 + generator.next() % 16;
            return Fault::Delay(Box::pin(Yield(polls)));
        }
        match point.stage {
            Stage::Request => {
                if generator.draws(weights.request_lost) {
                    generator.counts.request_lost += 1;
                    return Fault::Lose;
                }
                if generator.draws(weights.repeated) {
                    generator.counts.repeated += 1;
                    return Fault::Repeat;
                }
                if generator.draws(weights.lingering) {
                    generator.counts.lingering += 1;
                    return Fault::Linger;
                }
            }
            Stage::Commit => {
                if generator.draws(weights.commit_lost) {
                    generator.counts.commit_lost += 1;
                    return Fault::Lose;
                }
            }
            Stage::Acknowledgement => {
                if generator.draws(weights.acknowledgement_lost) {
                    generator.counts.acknowledgement_lost += 1;
                    return Fault::Lose;
                }
            }
        }
        Fault::Proceed
    }

    fn hint(&self, _hint: Hint) -> u32 {
        let mut generator = self.generator();
        let Generator { weights, .. } = *generator;
        if generator.draws(weights.hint_lost) {
            generator.counts.hint_lost += 1;
            return 0;
        }
        if generator.draws(weights.hint_repeated) {
            generator.counts.hint_repeated += 1;
            return 2;
        }
        1
    }
}

impl Generator {
    /// Draws whether a fault of this weight happens. A weight of zero draws no number, so switching one fault off does
    /// not change the others.
    fn draws(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.next() % 1000 < u64::from(per_mille)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014), which is short and random enough to choose faults.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Yields to other tasks that many times.
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
