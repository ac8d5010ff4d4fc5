//! The whole program: a short run with a fixed seed, with every kind of run and many kinds of faults; and what it leaves
//! running when it is killed.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// So long that only a broken program takes longer.
const DEADLINE: Duration = Duration::from_secs(300);

fn chaos(arguments: &str) -> Command {
    let mut chaos = Command::new(env!("CARGO_BIN_EXE_chaos"));
    chaos.args(arguments.split(' ')).stdin(Stdio::null());
    chaos
}

#[test]
fn short_run_with_a_fixed_seed_violates_nothing() {
    let arguments = "--minutes 0.2 --seed 5 --workers 2 --clients 1 --pause 300 --lease-ttl 1500";
    let chaos = chaos(arguments).output().unwrap();

    let report = String::from_utf8_lossy(&chaos.stdout);
    let problems = String::from_utf8_lossy(&chaos.stderr);
    assert!(chaos.status.success(), "{}\n{report}\n{problems}", chaos.status);
    assert!(report.contains("violations: 0"), "{report}");
    // Something did happen.
    assert!(finished(&report, "transfer") > 0 && finished(&report, "signals") > 0, "{report}");
}

/// How many runs of that kind are over, by the report.
fn finished(report: &str, kind: &str) -> u32 {
    let line = report.lines().find(|line| line.starts_with(kind)).unwrap_or_default();
    line.split_whitespace().nth(3).and_then(|over| over.parse().ok()).unwrap_or_default()
}

/// The same for hours: `cargo run --release -p pgworkflows-chaos -- --runs payment --faults kill,pause --minutes 60`.
#[test]
fn payments_are_made_once_while_workers_are_killed_and_paused() {
    let arguments = "--runs payment --faults kill,pause,terminate --minutes 0.3 --seed 11 --workers 3 --clients 1 \
                     --pause 250 --lease-ttl 1000";
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let chaos = chaos(&words.join(" ")).output().unwrap();

    let report = String::from_utf8_lossy(&chaos.stdout);
    let problems = String::from_utf8_lossy(&chaos.stderr);
    assert!(chaos.status.success(), "{}\n{report}\n{problems}", chaos.status);
    assert!(report.contains("violations: 0"), "{report}");
    assert!(finished(&report, "payment") > 0 && finished(&report, "transfer") == 0, "{report}");
}

/// A small file system is mounted where nobody else sees it, and is gone with the program. Only root may do that.
#[test]
fn full_disk_loses_nothing() {
    let disk = std::env::temp_dir().join(format!("pgworkflows-chaos-disk-{}", std::process::id()));
    std::fs::create_dir(&disk).unwrap();
    let on_a_small_disk = |command: &str| {
        let script = format!("mount -t tmpfs -o size=2g tmpfs '{}' && {command}", disk.display());
        Command::new("unshare").args(["--mount", "sh", "-c", &script]).stdin(Stdio::null()).output()
    };
    if !on_a_small_disk("true").is_ok_and(|tried| tried.status.success()) {
        eprintln!("NOT TESTED: this account may not mount a file system");
        return std::fs::remove_dir(&disk).unwrap();
    }
    let chaos = on_a_small_disk(&format!(
        "{} --minutes 0.3 --seed 8 --workers 2 --clients 1 --faults disk,kill --pause 1000 --lease-ttl 1500 --server-dir '{}'",
        env!("CARGO_BIN_EXE_chaos"),
        disk.display()
    ));
    let chaos = chaos.unwrap();

    let report = String::from_utf8_lossy(&chaos.stdout);
    let problems = String::from_utf8_lossy(&chaos.stderr);
    assert!(chaos.status.success(), "{}\n{report}\n{problems}", chaos.status);
    assert!(report.contains("violations: 0"), "{report}");
    let filled = report.lines().find_map(|line| line.strip_prefix("disk")?.split_whitespace().next());
    assert!(filled.is_some_and(|count| count.parse().unwrap_or(0) > 0), "{report}");
    std::fs::remove_dir(&disk).unwrap();
}

#[test]
fn killed_program_leaves_no_process_behind_not_even_a_stopped_one() {
    let mut chaos = chaos("--minutes 10 --seed 6 --workers 2 --clients 1 --faults pause --pause 100");
    let mut chaos = chaos.stdout(Stdio::null()).spawn().unwrap();
    let own = chaos.id();
    eventually("a worker is stopped", || processes().iter().any(|p| p.parent == own && p.is_stopped()));
    let children: Vec<u32> = processes().iter().filter(|p| p.parent == own).map(|p| p.id).collect();

    chaos.kill().unwrap();
    chaos.wait().unwrap();

    eventually("its processes are gone", || {
        processes().iter().all(|process| process.is_dead() || !children.contains(&process.id))
    });
    let left = std::env::temp_dir().join(format!("pgworkflows-chaos-6-{own}"));
    std::fs::remove_dir_all(left).unwrap();
}

/// A process of this machine.
struct Process {
    id: u32,
    parent: u32,
    state: String,
}

impl Process {
    fn is_stopped(&self) -> bool {
        self.state.starts_with('T')
    }

    /// Dead, although its parent has not asked for its status.
    fn is_dead(&self) -> bool {
        self.state.starts_with('Z')
    }
}

fn processes() -> Vec<Process> {
    let listed = Command::new("ps").args(["-A", "-o", "pid=,ppid=,stat="]).output().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let process = |line: &str| {
        let mut words = line.split_whitespace();
        let (id, parent) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Process { id, parent, state: words.next()?.to_owned() })
    };
    text.lines().filter_map(process).collect()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
