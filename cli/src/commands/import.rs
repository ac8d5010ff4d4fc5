//! `pgworkflows import`: checks the file of a history, and shows what it says.
//!
//! It writes to no store. A run is executed by the one owner of its shard, and its events are numbered under that owner's lease;
//! one that came from a file would be executed a second time beside the original. What is wanted of an imported history is to
//! read it, which needs no store, and to replay it, which needs the workflow's code: `pgworkflows::history::replay` in a test.

use clap::Args;
use pgworkflows::history::History;
use serde_json::json;

use crate::answer::Answers;
use crate::count::counted;
use crate::failure::{Code, Failure};
use crate::input;

/// Checks a file that `export` wrote (its format, its digest, and every event), and shows what it says. It changes no store, and
/// needs none. To replay it against code, call `pgworkflows::history::replay` in a test.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file, or `-` for the standard input
    file: String,
}

impl Import {
    pub(super) fn run(&self, answers: Answers) -> Result<Code, Failure> {
        let what = "the history";
        let text = if self.file == "-" { input::text(what, "-")? } else { input::file(what, &self.file)? };
        let refused = |error: String| {
            Failure::usage(format!(
                "`{}` is not the history of a run, as `pgworkflows export` writes it: {error}",
                self.file
            ))
        };
        let history: History = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
        let events = history.events().map_err(|error| refused(error.to_string()))?;
        let is_over = events.last().is_some_and(|last| last.event.is_terminal());
        let (id, workflow) = (history.run_id(), history.workflow());
        let state = if is_over { "it is over" } else { "it was open" };
        let name = workflow.clone().unwrap_or_else(|| "unknown".to_owned());
        let head = format!("run {id} of workflow `{name}`: {}, {state}", counted(events.len(), "event"));
        let value = json!({"run_id": id, "workflow": workflow, "is_over": is_over, "events": events});
        answers.give(format!("{head}\n\n{history:#}"), &value)
    }
}
