//! `cargo xtask fix`: applies the corrections that a machine can make. It must not decide anything.

use crate::command::{self, Failure, cargo};

pub(crate) fn run() -> Result<(), Failure> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"];
    command::run(cargo(clippy))?;
    // Last, because what clippy writes is not formatted.
    command::run(cargo(["fmt", "--all"]))
}
