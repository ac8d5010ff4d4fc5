//! `pgworkflows migrate`: creates the tables, or brings them up to date.

use clap::Args;
use pgworkflows::PostgresStore;
use serde_json::json;

use crate::answer::Answers;
use crate::args::Global;
use crate::connect::Migrate as Change;
use crate::failure::{Code, Failure};

/// Creates the tables of a store, or brings them up to date. What is up to date stays as it is.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Prints the SQL of all migrations of a PostgreSQL, for a person to read and run, and changes nothing
    #[arg(long, conflicts_with = "check")]
    print: bool,

    /// Prints the SQL of the roles for owners, workers, clients and readers of a PostgreSQL, for a person to read and run after
    /// the migrations, and changes nothing
    #[arg(long, conflicts_with_all = ["check", "print"])]
    print_roles: bool,

    /// Changes nothing: the exit code is 5 if a migration is missing
    #[arg(long)]
    check: bool,
}

impl Migrate {
    pub(super) async fn run(&self, global: &Global, answers: Answers) -> Result<Code, Failure> {
        if self.print || self.print_roles {
            let schema = global.schema();
            let sql = if self.print { PostgresStore::migrations_sql } else { PostgresStore::roles_sql };
            let sql = sql(&schema).map_err(|error| Failure::usage(error.to_string()))?;
            return answers.give(&sql, &json!({"schema": schema, "sql": sql}));
        }
        let store = global.open(if self.check { Change::No } else { Change::Yes }).await?;
        let text = format!("{} is up to date", store.place);
        answers.give(text, &json!({"up_to_date": true}))
    }
}
