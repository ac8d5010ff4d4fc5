//! The commands, one file each. A command asks the store, and answers with a text and a value.

mod completions;
mod dev;
mod doctor;
mod export;
mod import;
mod migrate;
mod queues;
mod runs;
mod top;
mod workers;

use clap::Subcommand;

use crate::answer::Answers;
use crate::args::Arguments;
use crate::failure::{Code, Failure};
use crate::streams::Streams;

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Looks at runs, and acts on them
    Runs {
        #[command(subcommand)]
        command: runs::Command,
    },
    /// Shows the queues and the activity queues: who serves them, and what waits
    Queues(queues::Queues),
    /// Shows the live workers: what they know, and how much they have
    Workers(workers::Workers),
    /// Shows queues and runs on the terminal, again and again
    Top(top::Top),
    /// Writes the history of a run to a file, for replay checks, and to keep it
    Export(export::Export),
    /// Checks a file that `export` wrote, and shows what it says. It changes no store
    Import(import::Import),
    /// Examines the database and what is in it, and says what to do
    Doctor(doctor::Doctor),
    /// Creates the tables, or brings them up to date
    Migrate(migrate::Migrate),
    /// Makes a playground in a file, and shows it
    Dev(dev::Dev),
    /// Prints the completions for a shell
    Completions(completions::Completions),
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments, streams: &'static Streams) -> Result<Code, Failure> {
    let Arguments { global, command } = arguments;
    let answers = Answers { json: global.json, streams };
    match command {
        Command::Runs { command } => command.run(&global, answers).await,
        Command::Queues(queues) => queues.run(&global, answers).await,
        Command::Workers(workers) => workers.run(&global, answers).await,
        Command::Top(top) => top.run(&global, answers).await,
        Command::Export(export) => export.run(&global, answers).await,
        Command::Import(import) => import.run(answers),
        Command::Doctor(doctor) => doctor.run(&global, answers).await,
        Command::Dev(dev) => dev.run(&global, answers).await,
        Command::Completions(completions) => completions.run(answers),
        Command::Migrate(migrate) => migrate.run(&global, answers).await,
    }
}
