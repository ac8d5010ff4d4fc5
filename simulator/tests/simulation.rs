//! The simulator at work: a fixed number of seeds, and the properties that a simulation needs.

use std::collections::BTreeSet;

use pgworkflows_core::history::Event;
use pgworkflows_simulator::Simulation;

/// How many seeds every run of the tests simulates.
const SEEDS: u64 = 150;

/// How many of them are simulated again with runs that end the processes of their workers.
const DEADLY: u64 = 100;

#[test]
fn nothing_is_violated_in_any_world_and_every_event_occurs_in_some() {
    let mut missing: BTreeSet<&str> = Event::names().collect();
    let mut handovers = 0;
    let deadly = (0..DEADLY).map(|seed| Simulation::of(seed).deadly());
    for simulation in (0..SEEDS).map(Simulation::of).chain(deadly) {
        let outcome = simulation.run();
        handovers += outcome.handovers;
        if outcome.violations.is_empty() {
            missing.retain(|name| !outcome.events.contains_key(*name));
            continue;
        }
        let outcome = simulation.shrink().transcribe();
        panic!("{}\n\n{simulation:?}: {:#?}", outcome.transcript.join("\n"), outcome.violations);
    }
    assert!(handovers > 100, "workers hand only {handovers} shards over");
    assert_eq!(
        missing,
        BTreeSet::new(),
        "these events occur in no world: the plans or the disturbances lack something"
    );
}

#[test]
fn same_seed_is_the_same_world() {
    for seed in 1_000..1_050 {
        assert_eq!(
            Simulation::of(seed).run().trace_hash,
            Simulation::of(seed).run().trace_hash,
            "seed {seed}"
        );
    }
}

#[test]
fn transcribing_a_world_changes_nothing_in_it() {
    for seed in 1_000..1_010 {
        let (run, told) = (Simulation::of(seed).run(), Simulation::of(seed).transcribe());
        assert_eq!((run.simulated, run.polls, run.parts), (told.simulated, told.polls, told.parts));
        assert!(run.transcript.is_empty() && !told.transcript.is_empty());
    }
}

#[test]
fn world_without_its_parts_has_no_faults() {
    let outcome = Simulation::of(7).keeping([]).run();
    assert_eq!(outcome.violations, [""; 0]);
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
}
