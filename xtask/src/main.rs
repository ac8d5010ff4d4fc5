//! The project's own commands. It must not know what the library does, only how it is checked.

mod command;

mod bench_compare;
mod bench_report;
mod fix;
mod lines;
mod package;
mod simulate;
mod test;
mod verify;

mod deny;
mod machete;
mod postgres;
mod tidy;

use std::env;
use std::process::ExitCode;

use crate::command::Failure;

// By hand: what follows a command is passed on as it is, a leading `--` included, which a parser would take for its own.
const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test [ARGUMENTS]           find or get a PostgreSQL and run all tests; arguments go to `cargo test`
  verify [--install-tools]   the whole gate: everything that a change has to pass; writes nothing
  simulate [--seeds N] [--seed FIRST] [--canaries]
                             whole systems under faults and virtual time, from seeds; one seed tells its story
  bench-report [--full] [--render-only]
                             measure everything and rewrite the tables and plots of docs/performance.md
  bench-compare REV [--turns N] [ARGUMENTS]
                             measure the load program of that revision and today's by turns (10), and print the
                             ratios of their figures; arguments go to `measure load`, or name another
                             measurement: `growth recovery`
  lines                      count the code of the programs in examples/comparison: the table of
                             docs/comparison.md
  package                    pack what would be published, and build it from the packages alone
  tidy                       only the project's own rules, a part of `verify`
  fix                        format, and apply what clippy suggests; writes to the sources";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["test", rest @ ..] => test::run(rest),
        ["verify"] => verify::run(deny::MissingTool::Report),
        ["verify", "--install-tools"] => verify::run(deny::MissingTool::Install),
        ["simulate", rest @ ..] => simulate::run(rest),
        ["bench-report", rest @ ..] => bench_report::run(rest),
        ["bench-compare", revision, rest @ ..] => bench_compare::run(revision, rest),
        ["lines"] => lines::run(),
        ["package"] => package::run(),
        ["tidy"] => tidy::run(),
        ["fix"] => fix::run(),
        ["help" | "--help" | "-h"] => help(),
        [] => Err(Failure::new(format!("no command was given\n\n{USAGE}"))),
        _ => Err(Failure::new(format!("`{}` is no command\n\n{USAGE}", arguments.join(" ")))),
    }
}

#[expect(clippy::print_stdout, reason = "it was asked for")]
fn help() -> Result<(), Failure> {
    println!("{USAGE}");
    Ok(())
}
