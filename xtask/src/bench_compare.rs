//! `cargo xtask bench-compare`: another revision's load program and today's, by turns. It must not know what they measure.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::{self, Failure, cargo};

const PROGRAM: [&str; 6] = ["--release", "--locked", "-p", "pgworkflows-benches", "--bin", "measure"];

/// Builds both and measures them. The arguments are `--turns N`, and those of `measure load`, or `growth` and its arguments.
pub(crate) fn run(revision: &str, arguments: &[&str]) -> Result<(), Failure> {
    let commit =
        command::output(git(["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")]))
            .map_err(|_| Failure::new(format!("`{revision}` is no revision of this repository")))?;
    let room = command::root().join("target/compare");
    let base = build(&room, commit.trim())?;
    let (turns, load): (Vec<&str>, Vec<&str>) = match arguments {
        ["--turns", number, load @ ..] => (vec!["--turns", number], load.to_vec()),
        load => (Vec::new(), load.to_vec()),
    };
    let mut compare = cargo(["run"]);
    compare.args(PROGRAM).args(["--", "compare", "--base"]).arg(base).args(turns).arg("--").args(load);
    command::run(compare)
}

/// Builds the load program of a commit in a copy of the repository, which later comparisons use again.
fn build(room: &Path, commit: &str) -> Result<std::path::PathBuf, Failure> {
    let source = room.join("source");
    if !source.exists() {
        fs::create_dir_all(room).map_err(|error| Failure::new(format!("{}: {error}", room.display())))?;
        let mut clone = git(["clone", "--quiet", "--shared", "--no-checkout", "."]);
        clone.arg(&source);
        command::run(clone)?;
    }
    let mut checkout = git(["checkout", "--quiet", "--force", "--detach", commit]);
    checkout.current_dir(&source);
    command::run(checkout)?;
    let target = room.join("target");
    let mut build = cargo(["build"]);
    build.args(PROGRAM).current_dir(&source).env("CARGO_TARGET_DIR", &target);
    command::run(build).map_err(|failure| {
        Failure::new(format!(
            "{failure}; a revision can be compared if its benches have the program `measure`"
        ))
    })?;
    Ok(target.join("release/measure"))
}

fn git<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(command::root());
    git
}
