//! Simulates the worlds of many seeds, for `cargo xtask simulate`. It must not know what a world is.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

mod arguments;
mod canaries;
mod summary;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use pgworkflows_simulator::Simulation;
use pgworkflows_simulator::canary::errs;

use self::arguments::Arguments;
use self::summary::Summary;

/// After how many seeds a line of progress is printed.
const PROGRESS_EVERY: u64 = 1_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.canary {
        _ if arguments.canaries => canaries::measure(arguments.first()),
        Some(canary) if !errs() => canaries::simulate_with(canary),
        _ => Ok(simulate(&arguments)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Simulates all requested seeds. Whether nothing was violated.
fn simulate(arguments: &Arguments) -> bool {
    let (first, count) = (arguments.first(), arguments.count());
    if arguments.until_violated {
        let is_violated = |seed: &u64| !arguments.simulation(*seed).run().violations.is_empty();
        let violated = (first..first.saturating_add(count)).find(is_violated);
        violated.iter().for_each(|seed| println!("{seed}"));
        return violated.is_none();
    }
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

/// Prints the violations and how to see them again; for the first failing seed also the transcript of a minimal world.
fn report(arguments: &Arguments, simulation: &Simulation, in_words: bool) {
    let smallest = if in_words { simulation.shrink() } else { simulation.clone() };
    let outcome = smallest.transcribe();
    if in_words {
        outcome.transcript.iter().for_each(|line| println!("{line}"));
    }
    for violation in &outcome.violations {
        println!("seed {}: {violation}", outcome.seed);
    }
    println!("to see it again: {}", arguments.again(outcome.seed, smallest.parts()));
}
