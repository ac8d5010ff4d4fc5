//! The simulator at work: a fixed budget of seeds, and what shows that it can be believed. Its seeds are all there
//! is to it.

use pgworkflows_testkit::sim::{Canary, finds, simulate};

/// How many seeds each run of the tests simulates.
const SEEDS: u64 = 300;

#[test]
fn nothing_is_violated_in_any_world() {
    let seed = std::env::var("PGWORKFLOWS_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = seed.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let outcome = simulate(seed);
        assert!(
            outcome.violations.is_empty(),
            "{}\n\nseed {seed}: {:#?}\nto see it again: PGWORKFLOWS_SIM_SEED={seed} cargo test -p pgworkflows-testkit \
             --test simulation",
            outcome.story.join("\n"),
            outcome.violations,
        );
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 1_000..1_050 {
        assert_eq!(simulate(seed).trace_hash, simulate(seed).trace_hash, "seed {seed}");
    }
}

#[test]
fn every_known_bug_is_found() {
    for canary in Canary::ALL {
        let found = (0..1_000).find(|seed| finds(canary, *seed));
        assert!(found.is_some(), "{canary:?} was not found in 1,000 seeds");
    }
}
