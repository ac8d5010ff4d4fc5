//! Simulates the worlds of many seeds: what `cargo xtask simulate` runs. It must not know what a world is.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use pgworkflows_testkit::sim::{Canary, Outcome, finds, simulate};

const USAGE: &str = "Usage: simulate [--seeds N] [--seed FIRST] [--canaries]";

/// After how many seeds a line says how far it is.
const PROGRESS_EVERY: u64 = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (mut first, mut count) = (0, None);
    let mut rest = &arguments[..];
    loop {
        match rest {
            [] => break,
            ["--canaries"] => return canaries(),
            ["--seed", seed, more @ ..] if seed.parse::<u64>().is_ok() => {
                first = seed.parse().unwrap_or_default();
                rest = more;
            }
            ["--seeds", seeds, more @ ..] if seeds.parse::<u64>().is_ok() => {
                count = seeds.parse().ok();
                rest = more;
            }
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::FAILURE;
            }
        }
    }
    // A seed alone is one that somebody wants to see again.
    let one_seed = count.is_none() && !arguments.is_empty();
    run(first, count.unwrap_or(if one_seed { 1 } else { PROGRESS_EVERY }))
}

/// What all seeds together came to.
#[derive(Default)]
struct Summary {
    simulated: Duration,
    polls: u64,
    faults: BTreeMap<&'static str, u64>,
    failed: Vec<u64>,
    trace_hash: u64,
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        self.simulated += outcome.simulated;
        self.polls += outcome.polls;
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        if !outcome.violations.is_empty() {
            self.failed.push(outcome.seed);
        }
        self.trace_hash =
            self.trace_hash.rotate_left(5).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ outcome.trace_hash;
    }
}

fn run(first: u64, count: u64) -> ExitCode {
    let mut summary = Summary::default();
    for seed in first..first.saturating_add(count) {
        let outcome = simulate(seed);
        summary.add(&outcome);
        if let Some(violation) = outcome.violations.first() {
            if summary.failed.len() == 1 {
                outcome.story.iter().for_each(|line| println!("{line}"));
            }
            println!("seed {seed}: {violation}");
            println!("to see it again: cargo xtask simulate --seed {seed}");
        }
        let done = seed - first + 1;
        if done % PROGRESS_EVERY == 0 && done < count {
            eprintln!("{done} of {count} seeds, {} violated", summary.failed.len());
        }
    }
    let days = summary.simulated.as_secs_f64() / 86_400.0;
    let faults: u64 = summary.faults.values().sum();
    println!("seeds: {count}, from {first}");
    println!("simulated time: {days:.1} days, {} polls", summary.polls);
    println!("faults: {faults}");
    for (kind, count) in &summary.faults {
        println!("  {kind}: {count}");
    }
    println!("violated: {} {:?}", summary.failed.len(), summary.failed);
    println!("trace hash: {:016x}", summary.trace_hash);
    if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says after how many seeds each known bug is found.
fn canaries() -> ExitCode {
    let mut all = true;
    for canary in Canary::ALL {
        let found = (0..PROGRESS_EVERY).find(|seed| finds(canary, *seed));
        match found {
            Some(seed) => println!("{canary:?}: found by seed {seed}"),
            None => println!("{canary:?}: not found in {PROGRESS_EVERY} seeds"),
        }
        all &= found.is_some();
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
