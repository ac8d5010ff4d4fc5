//! The simulator at work: a fixed budget of seeds, and what shows that it can be believed. Its seeds are all there
//! is to it.

use pgworkflows_simulator::{Canary, EngineBug, Simulation, StoreBug};

/// How many seeds each run of the tests simulates.
const SEEDS: u64 = 150;

#[test]
fn nothing_is_violated_in_any_world() {
    for seed in 0..SEEDS {
        let simulation = Simulation::of(seed);
        if simulation.run().violations.is_empty() {
            continue;
        }
        let outcome = simulation.shrink().tell();
        panic!(
            "{}\n\nseed {seed}: {:#?}\nto see it again: cargo xtask simulate --seed {seed}",
            outcome.story.join("\n"),
            outcome.violations,
        );
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 1_000..1_050 {
        assert_eq!(
            Simulation::of(seed).run().trace_hash,
            Simulation::of(seed).run().trace_hash,
            "seed {seed}"
        );
    }
}

#[test]
fn telling_a_world_changes_nothing_in_it() {
    for seed in 1_000..1_010 {
        let (run, told) = (Simulation::of(seed).run(), Simulation::of(seed).tell());
        assert_eq!((run.simulated, run.polls, run.parts), (told.simulated, told.polls, told.parts));
        assert!(run.story.is_empty() && !told.story.is_empty());
    }
}

#[test]
fn a_world_without_its_parts_is_calm() {
    let outcome = Simulation::of(7).keeping([]).run();
    assert_eq!(outcome.violations, [""; 0]);
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
}

#[test]
fn every_known_bug_is_found() {
    for canary in Canary::all() {
        let found = (0..1_000).find(|seed| is_found(&Simulation::of(*seed).with(canary)));
        assert!(found.is_some(), "{canary} was not found in 1,000 seeds");
    }
}

#[test]
fn a_seed_that_fails_is_shrunk_and_still_fails() {
    for canary in [Canary::Store(StoreBug::InboxByNumber), Canary::Engine(EngineBug::EffectEarly)] {
        let mut simulations = (0..1_000).map(|seed| Simulation::of(seed).with(canary));
        let failing = simulations.find(is_found).expect("it is found, see above");
        let smaller = failing.shrink();
        let outcome = smaller.tell();
        assert!(!outcome.violations.is_empty(), "{canary}: what is left goes well");
        let (kept, all) =
            (smaller.parts().map_or(u32::MAX as usize, |parts| parts.len()), failing.run().parts);
        assert!(kept <= 8.max(all as usize / 2), "{canary}: {kept} of {all} parts are left");
    }
}

fn is_found(simulation: &Simulation) -> bool {
    !simulation.run().violations.is_empty()
}
