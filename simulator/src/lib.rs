//! The simulator: whole systems of several workers, clients and a store with faults, on one thread under virtual time,
//! each drawn from a seed. Invariants are checked while a system runs and at its end. The same seed is the same world
//! to the last bit. It must not touch a real clock or real entropy.

mod announce;
mod asking;
pub mod canary;
mod check;
mod children;
mod clients;
mod config;
mod cost;
mod faults;
mod history;
mod host;
mod ledger;
mod log;
mod mask;
mod pages;
mod plan;
mod promise;
mod quiet;
mod sending;
mod thread;
mod traces;
mod updates;
mod view;
mod workflow;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::mask::Mask;
pub use self::mask::minimal_parts;
use self::world::World;

/// The world of a seed, or a part of it.
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

/// The outcome of a simulation.
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
    pub events: BTreeMap<&'static str, u64>,
    /// How many shards went from one live worker to another.
    pub handovers: u64,
    /// How many parts it met that can be left out: disturbances, then clients' scripts, then faults.
    pub parts: u32,
    /// The invariants that were violated, in words.
    pub violations: Vec<String>,
    /// A hash of everything that happened.
    pub trace_hash: u64,
    /// What happened, in words; empty unless it was asked for.
    pub transcript: Vec<String>,
}

impl Simulation {
    /// The whole world of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, mask: Mask::default(), deadly: false }
    }

    /// The same world with only these parts, see [`Outcome::parts`].
    #[must_use]
    pub fn keeping(self, parts: impl IntoIterator<Item = u32>) -> Self {
        Self { mask: Mask::only(parts.into_iter().collect()), ..self }
    }

    /// The same world with runs whose activities sometimes end the process of their worker, unless the world is
    /// undisturbed.
    #[must_use]
    pub fn deadly(self) -> Self {
        Self { deadly: true, ..self }
    }

    /// The parts that are kept; `None` if all are.
    pub fn parts(&self) -> Option<&BTreeSet<u32>> {
        self.mask.parts()
    }

    /// Simulates it.
    pub fn run(&self) -> Outcome {
        self.simulate(false)
    }

    /// Simulates it, and writes down what happens in [`Outcome::transcript`]. That takes longer.
    pub fn transcribe(&self) -> Outcome {
        self.simulate(true)
    }

    /// The smallest world found that violates the same invariant; the same world if nothing is violated.
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
        let lines = in_words.then(|| Arc::clone(&world.time));
        let log = log::EngineLog { traces: world.traces.clone(), lines };
        tracing::subscriber::with_default(log, || world.run());
        let simulated = world.time.now();
        // After a violation, the histories are needed for the transcript alone, and the store may be unable to read
        // them.
        let runs = if world.is_violated() && !in_words { Vec::new() } else { world.view_runs() };
        if !world.is_violated() {
            world.check(&runs);
        }
        let (violations, events, handovers) = {
            let ledger = world.ledger.lock();
            (ledger.violations.clone(), ledger.events.clone(), ledger.handovers)
        };
        let transcript = if in_words { world.transcript(&runs) } else { Vec::new() };
        Outcome {
            seed: self.seed,
            simulated,
            polls: world.scheduler.polls,
            faults: world.faults.counts(),
            events,
            handovers,
            parts: world.faults.parts(),
            violations,
            trace_hash: world.time.lock().trace.hash(),
            transcript,
        }
    }
}

impl World {
    fn transcript(&self, runs: &[view::RunView]) -> Vec<String> {
        let mut transcript = vec![format!("{:?}", self.config)];
        transcript.extend(self.time.lock().trace.last(TRANSCRIPT_LINES));
        for run in runs {
            transcript.push(format!("run {}:", run.run));
            let events = run.history.iter();
            transcript.extend(events.map(|event| format!("  {} {} {:?}", event.seq, event.at, event.event)));
        }
        transcript
    }
}

/// How many of the last lines of the trace a transcript holds.
const TRANSCRIPT_LINES: usize = 2_000;

/// A violation without its numbers and ids: violations of the same kind mostly have the same cause.
fn kind_of(violation: &str) -> String {
    let is_word = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
    violation.split_whitespace().filter(is_word).collect::<Vec<_>>().join(" ")
}
