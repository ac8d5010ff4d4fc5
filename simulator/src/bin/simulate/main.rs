//! Simulates the worlds of many seeds: what `cargo xtask simulate` runs. It must not know what a world is.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

mod arguments;
mod canaries;
mod summary;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use pgworkflows_simulator::Simulation;

use self::arguments::Arguments;
use self::summary::Summary;

/// After how many seeds a line says how far it is.
const PROGRESS_EVERY: u64 = 1_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.canaries { canaries::measure(arguments.first()) } else { seeds(&arguments) };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Simulates all seeds that were asked for. Whether nothing was violated.
fn seeds(arguments: &Arguments) -> bool {
    let (first, count) = (arguments.first(), arguments.count());
    let begun = Instant::now();
    let mut summary = Summary::default();
    for seed in first..first.saturating_add(count) {
        let simulation = arguments.simulation(seed);
        let outcome = simulation.run();
        summary.add(&outcome);
        if !outcome.violations.is_empty() {
            report(arguments, &simulation, summary.failed.len() == 1);
        }
        let done = seed - first + 1;
        if done.is_multiple_of(PROGRESS_EVERY) && done < count {
            let speed = done as f64 / begun.elapsed().as_secs_f64();
            eprintln!("{done} of {count} seeds, {speed:.0} per second, {} violated", summary.failed.len());
        }
    }
    summary.print(arguments, begun.elapsed());
    summary.failed.is_empty()
}

/// Says what was violated and how to see it again; of the first seed as well what happened, as little of it as can be.
fn report(arguments: &Arguments, simulation: &Simulation, in_words: bool) {
    let smallest = if in_words { simulation.shrink() } else { simulation.clone() };
    let outcome = smallest.tell();
    if in_words {
        outcome.story.iter().for_each(|line| println!("{line}"));
    }
    for violation in &outcome.violations {
        println!("seed {}: {violation}", outcome.seed);
    }
    println!("to see it again: {}", arguments.again(outcome.seed, smallest.parts()));
}
