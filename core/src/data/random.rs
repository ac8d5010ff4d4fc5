//! Pseudo-random numbers, the same for the same seed: what a workflow may draw. No entropy enters here.

/// SplitMix64 (Steele, Lea, Flood 2014): a bijection in which every input bit affects every output bit.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A sequence of numbers from one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    state: u64,
}

impl Stream {
    pub(crate) fn new(seed: u128) -> Self {
        Self { state: mix(seed as u64) ^ mix((seed >> 64) as u64).rotate_left(32) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        let number = mix(self.state);
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        number
    }
}
