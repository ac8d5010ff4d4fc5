//! The arguments that all commands share, and the list of commands. It must not know what a command does.

use clap::{Args, Parser};
use pgworkflows::AnyStore;

use crate::commands::Command;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the operation failed, the run that was waited for did not complete, or `doctor` found something wrong
  2  the arguments cannot be used, such as an input that is not JSON
  3  there is no such run, key, queue or file
  4  the run is over, or does not take the request in its state
  5  the store does not answer, or cannot be used

With `--json`, the answer is one JSON value on the standard output, and an error is one on the standard error.
Colours follow `NO_COLOR`, `CLICOLOR` and whether a terminal shows them.";

/// Looks at the runs of PgWorkflows, says why one does not go on, and acts on them.
#[derive(Debug, Parser)]
#[command(name = "pgworkflows", version, after_help = EXIT_CODES, propagate_version = true)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// The address of the store, such as `postgres://user:password@host:5432/database`. Other users of a machine may see the
    /// arguments of a program, so rather set PGWORKFLOWS_URL or DATABASE_URL
    #[arg(long, global = true, env = "PGWORKFLOWS_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// The schema of a PostgreSQL database that holds the tables
    #[arg(
        long,
        global = true,
        env = "PGWORKFLOWS_SCHEMA",
        default_value = "pgworkflows",
        value_name = "NAME"
    )]
    pub(crate) schema: String,

    /// Answers with one JSON value, for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The store of a test, whatever the address is.
    #[arg(skip)]
    pub(crate) store: Option<AnyStore>,
}
