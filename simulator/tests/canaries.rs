//! The simulator can be trusted: it finds every known bug, and shows it in a small world. The build that has the bugs
//! is made here, once.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use pgworkflows_simulator::canary::{Canary, ErringBuild};

static BUILD: LazyLock<ErringBuild> =
    LazyLock::new(|| ErringBuild::make().unwrap_or_else(|problem| panic!("{problem}")));

/// How many seeds a bug may take: the rarest take some six thousand.
const SEEDS: u64 = 10_000;

#[test]
fn every_known_bug_is_found() {
    let canaries: Vec<_> = Canary::all().collect();
    let next = AtomicUsize::new(0);
    let look = || {
        while let Some(canary) = canaries.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = BUILD.find(canary, 0, SEEDS).unwrap();
            assert!(found.is_some(), "{canary} ({}) was not found in {SEEDS} seeds", canary.what);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(look))));
}

#[test]
fn failing_seed_is_shrunk_and_still_fails() {
    for canary in ["InboxByNumber", "EffectEarly"].map(|name| Canary::named(name).unwrap()) {
        // Given a seed with which the bug is found
        let seed =
            BUILD.find(canary, 0, SEEDS).unwrap().expect("it is found, as the other test shows").to_string();
        let simulate = |keep: &[&str]| {
            let arguments = [&["--canary", canary.name, "--seed", &seed], keep].concat();
            let output = BUILD.with(canary).args(arguments).output().unwrap();
            assert!(!output.status.success(), "{canary}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };

        // When it is simulated
        let report = simulate(&[]);

        // Then the report names a smaller world with the same violation
        let again = report.lines().find_map(|line| line.strip_prefix("to see it again: ")).unwrap();
        let parts =
            again.split('\'').nth(1).unwrap_or_else(|| panic!("{canary}: nothing was left out: {again}"));
        assert!(parts.split(',').count() <= 30, "{canary}: too much is left: {again}");
        assert!(simulate(&["--keep", parts]).contains(&format!("violated: 1 [{seed}]")), "{again}");
    }
}
