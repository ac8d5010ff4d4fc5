//! `cargo xtask bench-report`: measures everything and rewrites the tables and plots of `docs/performance.md`. It must
//! not know what is measured.

use crate::command::{self, Failure, cargo};

/// Passes the arguments on; those it does not know, the program explains before anything is measured.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    let package = ["--release", "-p", "pgworkflows-benches"];
    if arguments.iter().all(|argument| *argument == "--full") {
        let mut build = cargo(["build"]);
        build.args(package).arg("--bins");
        command::run(build)?;
        let mut replay = cargo(["bench", "-p", "pgworkflows-benches", "--bench", "replay", "--"]);
        replay.args(["--warm-up-time", "0.5", "--measurement-time", "1", "--noplot"]);
        command::run(replay)?;
    }
    let mut report = cargo(["run", "--quiet"]);
    report.args(package).args(["--bin", "bench_report", "--"]).args(arguments);
    command::run(report)
}
