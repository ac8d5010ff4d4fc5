//! Random bytes from a seed, the same on every machine. It must not know what reads them.

/// Some inputs of up to this many bytes.
pub fn seeded(seed: u64, inputs: usize, bytes_max: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut random = SplitMix(seed);
    (0..inputs).map(move |_| {
        let length = usize::try_from(random.next()).unwrap_or_default() % (bytes_max + 1);
        (0..length).map(|_| random.next().to_le_bytes()[0]).collect()
    })
}

/// The generator of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
