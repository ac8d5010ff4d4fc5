//! Pseudo-random numbers, the same for the same seed. It must not use entropy.

use std::time::Duration;

/// A stream of numbers from one seed: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream for one part of the world: the numbers that one part draws do not change those of another part.
    pub fn fork(&self, part: u64) -> Self {
        Self(mix(self.0 ^ mix(part)))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// A number from `from` to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.below(1000) < per_mille
    }

    /// A time from `from` to `to`. Its magnitude is drawn first, so short times are as likely as long ones.
    pub fn time(&mut self, from: Duration, to: Duration) -> Duration {
        let (low, high) = (from.as_micros().max(1) as u64, to.as_micros().max(1) as u64);
        let bits = self.between(u64::from(low.ilog2()), u64::from(high.max(low).ilog2()));
        let drawn = (1 << bits) + self.below(1 << bits);
        Duration::from_micros(drawn.clamp(low, high.max(low)))
    }
}

/// Spreads every bit of a number over all bits.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
