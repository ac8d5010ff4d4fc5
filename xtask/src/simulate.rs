//! `cargo xtask simulate`: the simulator, with optimisation. It must not know what a world is.

use crate::command::{self, Failure, cargo};

/// Passes the arguments on: `--seeds N`, `--seed FIRST`, `--canaries`.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    let package = ["run", "--quiet", "--release", "-p", "pgworkflows-testkit", "--bin", "simulate", "--"];
    let mut simulate = cargo(package);
    simulate.args(arguments);
    command::run(simulate)
}
