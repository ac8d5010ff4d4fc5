//! Which run a command is about: an id, the beginning of one, or the key with which it was started.

use clap::Args;
use pgworkflows::client::Untyped;
use pgworkflows::{RunHandle, RunId};

use crate::connect::Connected;
use crate::failure::{Code, Failure};

/// Fewer digits of an id are taken as a mistake: the first eight are those of all runs of a minute.
const DIGITS_MIN: usize = 8;

/// Names a run.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The run's id, or its beginning, if no other run's id begins with it: at least 8 digits
    #[arg(required_unless_present = "key")]
    pub(crate) run: Option<String>,

    /// Instead of the id: the key with which the run was started. Needs --workflow
    #[arg(long, requires = "workflow", conflicts_with = "run")]
    pub(crate) key: Option<String>,

    /// The workflow of the run with the key
    #[arg(long, requires = "key", value_name = "NAME")]
    pub(crate) workflow: Option<String>,
}

impl Target {
    /// The run. An id that is whole is not looked up: what is asked of the run tells whether it exists.
    pub(crate) async fn find(&self, store: &Connected) -> Result<RunHandle<Untyped>, Failure> {
        match (&self.run, &self.workflow, &self.key) {
            (Some(run), ..) => Ok(store.client.handle(resolve(store, run).await?)),
            (None, Some(workflow), Some(key)) => {
                let found = store.client.find_named(workflow, key).await?;
                found.ok_or_else(|| {
                    let place = &store.place;
                    Failure::new(
                        Code::NotFound,
                        "unknown-run",
                        format!(
                            "there is no run of workflow `{workflow}` with key `{key}` in {place}: check both, and {}",
                            store.option()
                        ),
                    )
                })
            }
            (None, ..) => Err(Failure::usage("name the run: its id, or --workflow and --key")),
        }
    }
}

/// The run with an id that begins like this.
async fn resolve(store: &Connected, given: &str) -> Result<RunId, Failure> {
    let digits: String = given.chars().filter(|c| *c != '-').collect();
    let is_part = (DIGITS_MIN..32).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
    if !is_part {
        return given.parse().map_err(|error: pgworkflows::id::InvalidId| {
            Failure::usage(format!(
                "{error}; the beginning of one has at least {DIGITS_MIN} hexadecimal digits"
            ))
        });
    }
    let greatest = u128::from_str_radix(&format!("{digits:f<32}"), 16).unwrap_or(u128::MAX);
    let before = RunId::from_u128(greatest.saturating_add(1));
    let found = store.client.list().before(before).limit(2).await?;
    let begins = |run: RunId| format!("{:032x}", run.as_u128()).starts_with(&digits.to_lowercase());
    let mut found = found.into_iter().map(|info| info.run_id).filter(|run| begins(*run));
    match (found.next(), found.next()) {
        (Some(run), None) => Ok(run),
        (Some(one), Some(other)) => Err(Failure::usage(format!(
            "several runs' ids begin with `{given}`, such as {one} and {other}: give more of the id"
        ))),
        (None, _) => Err(Failure::new(
            Code::NotFound,
            "unknown-run",
            format!("no run's id begins with `{given}` in {}: check it, and {}", store.place, store.option()),
        )),
    }
}

impl Connected {
    /// The option that names another place.
    fn option(&self) -> &'static str {
        if self.postgres.is_some() { "--schema" } else { "--url" }
    }

    /// Adds to the failure of a request to a run what shows how it ended; of one that does not exist, where it is, if it is in
    /// another schema of the database.
    pub(crate) async fn advise(&self, run: RunId, failure: Failure) -> Failure {
        if failure.is_run_over() {
            return failure.and(format!("here, that is `pgworkflows runs show {run}`"));
        }
        if !failure.is_unknown_run() {
            return failure;
        }
        let elsewhere = format!("there is none in {}", self.place);
        let Some(postgres) = &self.postgres else { return failure.and(elsewhere) };
        match postgres.schemas_with(run).await.unwrap_or_default().first() {
            Some(schema) => {
                failure.and(format!("schema `{schema}` of this database has it: pass --schema {schema}"))
            }
            None => failure.and(elsewhere),
        }
    }
}
