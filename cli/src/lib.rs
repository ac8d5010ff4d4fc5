//! The command line of PgWorkflows. It shows and asks what any client can: it has no SQL, and knows no workflow's code.
//!
//! In reading order: `args` are parsed, `connect` opens the store that they name, and each command is a file of `commands`. It
//! returns an answer, which is a text for people and a value for scripts. `why` is a function from a `situation` to words.

mod age;
mod answer;
mod args;
mod attribute;
mod commands;
mod connect;
mod count;
mod failure;
mod input;
mod progress;
mod secrets;
mod shell;
mod situation;
mod streams;
mod table;
mod target;
#[cfg(feature = "__testing")]
pub mod testing;
mod unserved;
mod visible;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::Arguments;
use crate::failure::{Code, Failure};
use crate::secrets::without_addresses;
use crate::streams::{STANDARD, Streams};

/// Runs the command line, and returns its exit code, which `--help` explains. It writes to the standard output and the standard
/// error of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let arguments = match parse(&mut Arguments::command(), &words, &STANDARD) {
        Ok(arguments) => arguments,
        Err(code) => return code.into(),
    };
    let json = arguments.global.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(commands::run(arguments, &STANDARD));
            // A connection attempt of the library may be under way; nothing waits for it.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::new(Code::Failed, "io", format!("no thread could be started: {error}"))),
    };
    done.unwrap_or_else(|failure| failure.report(&words, json, &STANDARD)).into()
}

/// Reads the arguments. If they ask for help, or are wrong, it tells so, and returns the exit code.
fn parse(definition: &mut clap::Command, words: &[OsString], streams: &Streams) -> Result<Arguments, Code> {
    let matches = definition.try_get_matches_from_mut(words);
    let parsed = matches.and_then(|mut matches| {
        Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(definition))
    });
    parsed.map_err(|error| {
        if error.use_stderr() && words.iter().any(|word| word == "--json") {
            return Failure::usage(error.to_string().trim()).report(words, true, streams);
        }
        refuse(&error, words, streams)
    })
}

/// Shows help, or what is wrong with the arguments. These may contain a password: an address in the wrong place, say.
fn refuse(error: &clap::Error, words: &[OsString], streams: &Streams) -> Code {
    let text = without_addresses(&error.render().ansi().to_string(), words);
    if error.use_stderr() {
        streams.tell(&text);
        return Code::Usage;
    }
    // Whoever closed the output does not read it.
    drop(streams.answer(&text));
    Code::Done
}
