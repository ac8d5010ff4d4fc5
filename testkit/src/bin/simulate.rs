//! Simulates the worlds of many seeds: what `cargo xtask simulate` runs.
#![expect(clippy::print_stdout, reason = "it is a command")]

use pgworkflows_testkit::sim::simulate;

fn main() -> std::process::ExitCode {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if std::env::args().nth(1).is_some_and(|argument| argument == "canaries") {
        for canary in pgworkflows_testkit::sim::Canary::ALL {
            let found: Vec<u64> =
                (0..1000).filter(|seed| pgworkflows_testkit::sim::finds(canary, *seed)).take(5).collect();
            println!("{canary:?}: {found:?}");
        }
    }
    let (first, count) = (arguments.first().copied().unwrap_or(0), arguments.get(1).copied().unwrap_or(1));
    let mut bad = 0;
    let mut simulated = 0.0;
    let mut polls = 0;
    let mut faults = std::collections::BTreeMap::<&str, u64>::new();
    for seed in first..first + count {
        let outcome = simulate(seed);
        simulated += outcome.simulated.as_secs_f64();
        polls += outcome.polls;
        for (kind, count) in &outcome.faults {
            *faults.entry(kind).or_default() += count;
        }
        if !outcome.violations.is_empty() {
            bad += 1;
            println!("seed {seed}: {}", outcome.violations[0]);
            if count == 1 {
                outcome.story.iter().for_each(|line| println!("{line}"));
                outcome.violations.iter().for_each(|line| println!("{line}"));
            }
        }
    }
    println!("{count} seeds, {bad} bad, {:.1} days, {polls} polls, {faults:?}", simulated / 86400.0);
    if bad == 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
