//! `cargo xtask bench-report`: measures everything and rewrites the tables and plots of `docs/performance.md`. It must
//! not know what is measured.

use crate::command::{self, Failure, cargo};

/// Passes the arguments to the program, which explains those that it does not know before it measures anything.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    let measures = arguments.iter().all(|argument| *argument == "--full");
    if measures {
        let mut replay = cargo(["bench", "-p", "pgworkflows-benches", "--bench", "replay", "--"]);
        replay.args(["--warm-up-time", "0.5", "--measurement-time", "1", "--noplot"]);
        command::run(replay)?;
    }
    let mut report = cargo(["run", "--release", "-p", "pgworkflows-benches", "--", "report"]);
    report.args(arguments);
    command::run(report)
}
