//! `cargo xtask test`: all tests on a real PostgreSQL. It must not know where that comes from.

use std::{env, thread};

use pgworkflows_pg_harness::DATABASE_URL_VARIABLE;

use crate::command::{self, Failure, cargo};
use crate::postgres;

/// How many tests of a program are executed at a time.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// Plain `cargo test`, whose output people and machines know. It runs unit tests, the packages under `tests/` and doc
/// tests, builds the examples, and runs no benchmarks.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    eprintln!("==> test 1/2: find or get a PostgreSQL, and a PgBouncer");
    let server = postgres::find_or_get()?;
    eprintln!("     PostgreSQL: {}", server.origin);

    match postgres::find_or_get_pooler() {
        Some(program) => eprintln!("     PgBouncer: {}", program.display()),
        None => eprintln!("     note: without PgBouncer, the tests through a pooler will say NOT TESTED"),
    }

    eprintln!("==> test 2/2: run the tests");
    let mut test = cargo(["test", "--no-fail-fast"]);
    if !arguments.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package")) {
        test.arg("--workspace");
    }
    if env::var_os("CI").is_some() {
        test.arg("--locked");
    }
    if env::var_os(THREADS_VARIABLE).is_none() {
        test.env(THREADS_VARIABLE, threads().to_string());
    }
    test.args(arguments).env(DATABASE_URL_VARIABLE, &server.url);
    command::run(test)
}

/// Twice as many as there are cores, because many tests wait: for the disk, for the end of a lease, for a deadline.
fn threads() -> usize {
    2 * thread::available_parallelism().map_or(1, usize::from)
}
