//! Licences, bans, sources and advisories of the dependencies, by cargo-deny. deny.toml says what is allowed; this file
//! must not.

use crate::command::{self, Failure, cargo};

/// The message of cargo-deny when it cannot download its database.
const OUT_OF_REACH: &str = "failed to fetch advisory database";

/// What to do if cargo-deny is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingTool {
    /// Fail, and say how to install it, because no one expects a check to build programs for minutes.
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

/// Known vulnerabilities are listed outside of the registry, which not every machine can reach.
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
