//! The simulator: whole systems, of several workers, clients and a store with faults, on one thread under virtual
//! time, each drawn from a seed. What must never happen is checked as it goes, and in the end. The same seed is
//! the same world to the last bit. It must not touch a real clock or real entropy.

mod canary;
mod check;
mod clients;
mod faults;
mod host;
mod ledger;
mod log;
mod nature;
mod plan;
mod promise;
mod workflow;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::canary::Canary;
use self::world::World;
use crate::runtime::{dice, scheduler, time};

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// How much virtual time passed.
    pub simulated: Duration,
    /// How often a task was polled.
    pub polls: u64,
    /// How often each kind of fault was injected.
    pub faults: BTreeMap<&'static str, u64>,
    /// What must never happen, and did.
    pub violations: Vec<String>,
    /// A hash of everything that happened.
    pub trace_hash: u64,
    /// The last of what happened, in words; only where something was violated.
    pub story: Vec<String>,
}

/// Simulates the world of one seed. If something is violated there, it is simulated once more, to tell the story.
pub fn simulate(seed: u64) -> Outcome {
    let outcome = run(seed, None, false);
    if outcome.violations.is_empty() { outcome } else { run(seed, None, true) }
}

/// Simulates the world of one seed with a known bug in it. Whether it was found there.
pub fn finds(canary: Canary, seed: u64) -> bool {
    !run(seed, Some(canary), false).violations.is_empty()
}

fn run(seed: u64, canary: Option<Canary>, in_words: bool) -> Outcome {
    let mut world = World::new(seed, canary, in_words);
    if in_words {
        let log = log::Log(std::sync::Arc::clone(&world.time));
        tracing::subscriber::with_default(log, || world.run());
    } else {
        world.run();
    }
    let simulated = world.time.now();
    // After a violation the histories are for the story alone, and the store may be past telling them.
    let seen = if world.is_violated() && !in_words { Vec::new() } else { world.see() };
    if !world.is_violated() {
        world.check(&seen);
    }
    let violations = world.ledger.lock().violations.clone();
    let inner = world.time.lock();
    let mut story = Vec::new();
    if in_words {
        story.push(format!("{:?}", world.nature));
        story.extend(inner.trace.last(STORY_LINES));
        for seen in &seen {
            story.push(format!("run {}:", seen.run));
            story.extend(
                seen.history.iter().map(|event| format!("  {} {} {:?}", event.seq, event.at, event.event)),
            );
        }
    }
    Outcome {
        seed,
        simulated,
        polls: world.scheduler.polls,
        faults: world.faults.counts(),
        violations,
        trace_hash: inner.trace.hash(),
        story,
    }
}

/// How many of the last lines of the trace a story has.
const STORY_LINES: usize = 500_000;
