//! How soon each known bug is found. It must not know a bug.

use pgworkflows_simulator::canary::{Canary, ErringBuild};

/// In how many ranges of seeds each bug is searched for.
const RANGES: u64 = 5;

/// How many seeds a bug may take.
const SEEDS_MAX: u64 = 1_000;

/// Prints for each known bug after how many seeds it is found, in several ranges of seeds. Whether the median range
/// finds every bug.
pub(crate) fn measure(first: u64) -> Result<bool, String> {
    let build = ErringBuild::make()?;
    println!("seeds until each known bug is found, in {RANGES} ranges from seed {first}:");
    let mut missed = Vec::new();
    for canary in Canary::all() {
        let mut found = Vec::new();
        for from in (0..RANGES).map(|range| first + range * SEEDS_MAX) {
            found.push(build.find(canary, from, SEEDS_MAX)?.map(|seed| seed - from + 1));
        }
        // Ranges without a find are last.
        found.sort_unstable_by_key(|found| found.unwrap_or(u64::MAX));
        let median = found[RANGES as usize / 2];
        let words = |found: &Option<u64>| found.map_or("-".to_owned(), |seeds| seeds.to_string());
        let all: Vec<String> = found.iter().map(words).collect();
        println!("{canary:<22} median {:>4}  of {}", words(&median), all.join(", "));
        if median.is_none() {
            missed.push(canary.name);
        }
    }
    println!("not found within {SEEDS_MAX} seeds at the median: {} {missed:?}", missed.len());
    Ok(missed.is_empty())
}

/// Runs the same command in a build that has the bug.
pub(crate) fn simulate_with(canary: &Canary) -> Result<bool, String> {
    let mut simulate = ErringBuild::make()?.with(canary);
    let status = simulate.args(std::env::args_os().skip(1)).status();
    let status = status.map_err(|error| format!("the build with the known bugs cannot be run: {error}"))?;
    Ok(status.success())
}
