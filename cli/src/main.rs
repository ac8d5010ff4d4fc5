//! The program `pgworkflows`. What it does is in the library, so that tests and fuzzers call it, too.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgworkflows_cli::run(std::env::args_os())
}
