//! The summary of all seeds. It must not know how they were simulated.

use std::collections::BTreeMap;
use std::time::Duration;

use pgworkflows_core::history::Event;
use pgworkflows_simulator::Outcome;

use super::arguments::Arguments;

/// The sum of many outcomes.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    simulated: Duration,
    polls: u64,
    faults: BTreeMap<&'static str, u64>,
    events: BTreeMap<&'static str, u64>,
    handovers: u64,
    /// The seeds with a violation.
    pub(crate) failed: Vec<u64>,
    trace_hash: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.simulated += outcome.simulated;
        self.polls += outcome.polls;
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (name, count) in &outcome.events {
            *self.events.entry(name).or_default() += count;
        }
        self.handovers += outcome.handovers;
        if !outcome.violations.is_empty() {
            self.failed.push(outcome.seed);
        }
        self.trace_hash =
            self.trace_hash.rotate_left(5).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ outcome.trace_hash;
    }

    pub(crate) fn print(&self, arguments: &Arguments, took: Duration) {
        let days = self.simulated.as_secs_f64() / 86_400.0;
        let faults: u64 = self.faults.values().sum();
        let minutes = took.as_secs_f64() / 60.0;
        println!("seeds: {}, from {}", arguments.count(), arguments.first());
        println!("simulated time: {days:.1} days, {} polls", self.polls);
        println!("faults: {faults}");
        for (kind, count) in &self.faults {
            println!("  {kind}: {count}");
        }
        println!("events: {}", self.events.values().sum::<u64>());
        for name in Event::names() {
            println!("  {name}: {}", self.events.get(name).unwrap_or(&0));
        }
        println!("shards handed over: {}", self.handovers);
        println!(
            "wall time: {:.1} s; per minute {:.1} years and {:.0} faults",
            took.as_secs_f64(),
            days / 365.25 / minutes,
            faults as f64 / minutes
        );
        println!("violated: {} {:?}", self.failed.len(), self.failed);
        println!("trace hash: {:016x}", self.trace_hash);
    }
}
