//! `cargo xtask simulate`: the simulator, with optimisation. It must not know what a world is.

use crate::command::{self, Failure, cargo};

/// Passes the arguments to the simulator, which explains those that it does not know.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    let mut simulate = cargo(["run", "--quiet", "--release", "-p", "pgworkflows-simulator"]);
    simulate.args(["--bin", "simulate", "--"]).args(arguments);
    command::run(simulate)
}
