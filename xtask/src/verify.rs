//! `cargo xtask verify`: all checks that a change must pass. It must not write to the sources.

use std::time::Instant;

use crate::command::{self, Failure, cargo};
use crate::deny::{self, MissingTool};
use crate::{package, test, tidy};

/// A check: its name, and the function that runs it.
type Check = (&'static str, Box<dyn Fn() -> Result<(), Failure>>);

/// Runs all checks, quick ones first, and continues after a failure, so that one run lists all problems.
pub(crate) fn run(missing: MissingTool) -> Result<(), Failure> {
    let checks: Vec<Check> = vec![
        ("formatting", Box::new(|| command::run(cargo(["fmt", "--all", "--check"])))),
        ("tidy rules", Box::new(tidy::run)),
        ("dependencies", Box::new(move || deny::check(missing))),
        ("clippy", Box::new(clippy)),
        ("rustdoc", Box::new(rustdoc)),
        ("feature combinations", Box::new(features)),
        ("packages", Box::new(package::run)),
        ("tests", Box::new(|| test::run(&["--locked"]))),
    ];
    let count = checks.len();
    let mut failures = Vec::new();
    for (number, (name, check)) in checks.into_iter().enumerate() {
        eprintln!("==> verify {}/{count}: {name}", number + 1);
        let begun = Instant::now();
        let outcome = check();
        let seconds = begun.elapsed().as_secs();
        match outcome {
            Ok(()) => eprintln!("==> {name}: ok ({seconds} s)"),
            Err(failure) => {
                eprintln!("==> {name}: FAILED ({seconds} s)\n{failure}");
                failures.push(name);
            }
        }
    }
    if failures.is_empty() {
        eprintln!("==> verify: all {count} checks passed");
        return Ok(());
    }
    Err(Failure::new(format!("{} of {count} checks failed: {}", failures.len(), failures.join(", "))))
}

fn clippy() -> Result<(), Failure> {
    let mut clippy = cargo(["clippy", "--workspace", "--all-targets", "--all-features", "--locked"]);
    clippy.args(["--", "--deny", "warnings"]);
    command::run(clippy)
}

fn rustdoc() -> Result<(), Failure> {
    let mut doc = cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    command::run(doc)
}

/// Checks every package that has features separately, with none and with all of them: in a build of the whole
/// workspace, another package may enable a feature that this one forgot to enable.
fn features() -> Result<(), Failure> {
    let format = ["--format", "{p} {f}", "--prefix", "none", "--depth", "0"];
    let packages = command::output(cargo(
        ["tree", "--workspace", "--all-features", "--locked"].into_iter().chain(format),
    ))?;
    for package in packages.lines().filter(|line| !line.ends_with(' ') && !line.is_empty()) {
        let name = package.split(' ').next().unwrap_or_default();
        for which in ["--no-default-features", "--all-features"] {
            command::run(cargo(["check", "--quiet", "--locked", "--package", name, which]))?;
        }
    }
    Ok(())
}
