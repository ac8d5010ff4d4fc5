//! Licences, bans, sources and advisories of the dependencies, by cargo-deny. What is allowed is said
//! in deny.toml; it must not be said here.

use crate::command::{self, Failure, cargo};

/// What cargo-deny says when it cannot download its database.
const OUT_OF_REACH: &str = "failed to fetch advisory database";

/// What to do where cargo-deny is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingTool {
    /// Fail, and say how to install it: nobody expects a check to build programs for minutes.
    Report,
    /// Build and install it.
    Install,
}

pub(crate) fn check(missing: MissingTool) -> Result<(), Failure> {
    if command::output(cargo(["deny", "--version"])).is_err() {
        if missing == MissingTool::Report {
            return Err(Failure::new(
                "cargo-deny is not installed: run `cargo xtask verify --install-tools`, which builds it \
                 once, in some minutes",
            ));
        }
        command::run(cargo(["install", "--locked", "cargo-deny"]))?;
    }
    command::run(cargo(["deny", "--locked", "check", "licenses", "bans", "sources"]))?;
    check_advisories()
}

/// Known vulnerabilities are listed outside of the registry, where not every machine can reach them.
fn check_advisories() -> Result<(), Failure> {
    match command::output(cargo(["deny", "--locked", "check", "advisories"])) {
        Ok(_) => Ok(()),
        Err(failure) if failure.to_string().contains(OUT_OF_REACH) => {
            eprintln!("     advisories SKIPPED: their database cannot be reached from this machine");
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}
