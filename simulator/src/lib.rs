//! The simulator: whole systems, of several workers, clients and a store with faults, on one thread under virtual
//! time, each drawn from a seed. What must never happen is checked as it goes, and in the end. The same seed is
//! the same world to the last bit. It must not touch a real clock or real entropy.

pub mod canary;
mod check;
mod clients;
mod cost;
mod faults;
mod history;
mod host;
mod ledger;
mod log;
mod mask;
mod nature;
mod plan;
mod promise;
mod quiet;
mod sending;
mod thread;
mod workflow;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::mask::Mask;
pub use self::mask::minimal_parts;
use self::world::World;

/// The world of a seed, or what is left of it.
///
/// ```
/// use pgworkflows_simulator::Simulation;
///
/// let outcome = Simulation::of(1).run();
/// assert_eq!(outcome.violations, [""; 0]);
/// assert_eq!(outcome.trace_hash, Simulation::of(1).run().trace_hash);
/// ```
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    mask: Mask,
    deadly: bool,
}

/// What came of a simulation.
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
    /// How often each event was written, by its stored name.
    pub events: BTreeMap<String, u64>,
    /// How many parts it came upon that could be left out: disturbances, then clients' scripts, then faults.
    pub parts: u32,
    /// What must never happen, and did.
    pub violations: Vec<String>,
    /// A hash of everything that happened.
    pub trace_hash: u64,
    /// What happened, in words; only if it was asked for.
    pub story: Vec<String>,
}

impl Simulation {
    /// The whole world of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, mask: Mask::default(), deadly: false }
    }

    /// The same with these parts alone, see [`Outcome::parts`].
    #[must_use]
    pub fn keeping(self, parts: impl IntoIterator<Item = u32>) -> Self {
        Self { mask: Mask::only(parts.into_iter().collect()), ..self }
    }

    /// The same, where it is disturbed at all, with a run whose activities end the process of their worker now and then.
    #[must_use]
    pub fn deadly(self) -> Self {
        Self { deadly: true, ..self }
    }

    /// The parts that are kept, if some are left out.
    pub fn parts(&self) -> Option<&BTreeSet<u32>> {
        self.mask.parts()
    }

    /// Simulates it.
    pub fn run(&self) -> Outcome {
        self.simulate(false)
    }

    /// Simulates it, and tells what happens in [`Outcome::story`]. That takes longer.
    pub fn tell(&self) -> Outcome {
        self.simulate(true)
    }

    /// The smallest that is found to go wrong in the same way, if it does go wrong.
    #[must_use]
    pub fn shrink(&self) -> Self {
        let outcome = self.run();
        let Some(problem) = outcome.violations.first().map(|violation| kind_of(violation)) else {
            return self.clone();
        };
        let parts = minimal_parts(outcome.parts, |parts| {
            let smaller = self.clone().keeping(parts.iter().copied().filter(|part| self.mask.keeps(*part)));
            smaller.run().violations.iter().any(|violation| kind_of(violation) == problem)
        });
        self.clone().keeping(parts.into_iter().filter(|part| self.mask.keeps(*part)))
    }

    fn simulate(&self, in_words: bool) -> Outcome {
        let mut world = World::new(self.seed, &self.mask, self.deadly, in_words);
        if in_words {
            let log = log::Log(Arc::clone(&world.time));
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
        let (violations, events) = {
            let ledger = world.ledger.lock();
            (ledger.violations.clone(), ledger.events.clone())
        };
        let story = if in_words { world.story(&seen) } else { Vec::new() };
        Outcome {
            seed: self.seed,
            simulated,
            polls: world.scheduler.polls,
            faults: world.faults.counts(),
            events,
            parts: world.faults.parts(),
            violations,
            trace_hash: world.time.lock().trace.hash(),
            story,
        }
    }
}

impl World {
    fn story(&self, seen: &[check::Seen]) -> Vec<String> {
        let mut story = vec![format!("{:?}", self.nature)];
        story.extend(self.time.lock().trace.last(STORY_LINES));
        for seen in seen {
            story.push(format!("run {}:", seen.run));
            let events = seen.history.iter();
            story.extend(events.map(|event| format!("  {} {} {:?}", event.seq, event.at, event.event)));
        }
        story
    }
}

/// How many of the last lines of the trace a story has.
const STORY_LINES: usize = 2_000;

/// A violation without its numbers and ids: two of the same kind are of the same cause, more often than not.
fn kind_of(violation: &str) -> String {
    let is_word = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
    violation.split_whitespace().filter(is_word).collect::<Vec<_>>().join(" ")
}
