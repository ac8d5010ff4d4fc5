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

/// Above the options that every command has, so that those of its own stand together.
const HEADING: &str = "Options of every command";

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
    #[arg(long, global = true, help_heading = HEADING, value_name = "URL")]
    url: Option<String>,

    /// The schema of a PostgreSQL database that holds the tables. By default it is that of PGWORKFLOWS_SCHEMA, or `pgworkflows`
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME")]
    schema: Option<String>,

    /// Answers with one JSON value, for scripts
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) json: bool,

    /// The store of a test, whatever the address is.
    #[arg(skip)]
    pub(crate) store: Option<AnyStore>,
}

impl Global {
    /// The address that was meant for this program: from the arguments, or from its own variable of the environment.
    pub(crate) fn own_url(&self) -> Option<String> {
        self.url.clone().filter(|url| !url.is_empty()).or_else(|| variable("PGWORKFLOWS_URL"))
    }

    /// The address, from the arguments or the environment.
    pub(crate) fn url(&self) -> Option<String> {
        self.own_url().or_else(|| variable("DATABASE_URL"))
    }

    /// The schema, from the arguments or the environment.
    pub(crate) fn schema(&self) -> String {
        let given = self.schema.clone().or_else(|| variable("PGWORKFLOWS_SCHEMA"));
        given.unwrap_or_else(|| "pgworkflows".to_owned())
    }

    /// The same options with another address.
    pub(crate) fn at(self, url: String) -> Self {
        Self { url: Some(url), ..self }
    }
}

/// A variable of the environment, if it is set and not empty. If clap read it, its errors would show the option as given.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    Some(value).filter(|value| !value.is_empty())
}
