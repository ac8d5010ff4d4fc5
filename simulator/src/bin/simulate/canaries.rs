//! How soon each known bug is found. It must not know any of them.

use std::ops::Range;

use pgworkflows_simulator::{Canary, Simulation};

/// In how many ranges of seeds each bug is looked for: the median of so many is what is promised.
const RANGES: u64 = 5;

/// How many seeds a bug may take.
const SEEDS_MAX: u64 = 1_000;

/// Says for each known bug after how many seeds it is found, in several ranges of seeds. Whether all are, at the median.
pub(crate) fn measure(first: u64) -> bool {
    println!("seeds until each known bug is found, in {RANGES} ranges from seed {first} on:");
    let mut missed = Vec::new();
    for canary in Canary::all() {
        let ranges = (0..RANGES).map(|range| first + range * SEEDS_MAX).map(|from| from..from + SEEDS_MAX);
        let mut found: Vec<Option<u64>> = ranges.map(|seeds| find(canary, seeds)).collect();
        // What is not found comes last.
        found.sort_unstable_by_key(|found| found.unwrap_or(u64::MAX));
        let median = found[RANGES as usize / 2];
        let words = |found: &Option<u64>| found.map_or("-".to_owned(), |seeds| seeds.to_string());
        let all: Vec<String> = found.iter().map(words).collect();
        println!("{canary:<22} median {:>4}  of {}", words(&median), all.join(", "));
        if median.is_none() {
            missed.push(canary);
        }
    }
    println!("not found within {SEEDS_MAX} seeds at the median: {} {missed:?}", missed.len());
    missed.is_empty()
}

/// After how many seeds of a range a bug is found.
fn find(canary: Canary, seeds: Range<u64>) -> Option<u64> {
    let is_found = |seed| !Simulation::of(seed).with(canary).run().violations.is_empty();
    seeds.zip(1..).find(|(seed, _)| is_found(*seed)).map(|(_, count)| count)
}
