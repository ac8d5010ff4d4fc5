//! The replay check: compares recorded histories, from tests or from production, with today's code. It must not know
//! how a history was made, nor trust it.

mod check;

use std::fs;
use std::path::Path;

use pgworkflows_core::Workflow;
use pgworkflows_core::error::Divergence;
use pgworkflows_core::history::{History, Replayed};

pub use self::check::{ReplayCheck, replay_dir};
use crate::error::Error;

/// Replays a history with today's code of its workflow.
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows_testkit::{Error, TestEnv};
/// # struct Reminder;
/// # impl Workflow for Reminder {
/// #     const NAME: &'static str = "reminder";
/// #     type Input = ();
/// #     type Output = ();
/// #     async fn run(ctx: Context, (): ()) -> WorkflowResult<()> { ctx.sleep(Duration::from_secs(1)).await }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let env = TestEnv::builder().workflow::<Reminder>().build();
/// let run = env.start::<Reminder>(()).await?;
/// run.result().await?;
/// let replayed = pgworkflows_testkit::replay::<Reminder>(&run.history())?;
/// assert!(replayed.over);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Returns [`Error::is_diverged`] if the code decides differently: the error shows what was recorded, what the code
/// does, and the source lines of both, if the history has any. Returns [`Error::is_invalid`] for a history of another
/// workflow or of a newer build, an incomplete history, and a damaged history.
pub fn replay<W: Workflow>(history: &History) -> Result<Replayed, Error> {
    match history.workflow() {
        Some(workflow) if workflow == W::NAME => replay_with(history, pgworkflows_core::history::replay::<W>),
        Some(workflow) => Err(Error::invalid(format!(
            "the history of run {} belongs to workflow `{workflow}`, and workflow `{}` was to replay it; replay it with \
             the type of `{workflow}`",
            history.run_id(),
            W::NAME
        ))),
        // The engine reports what is wrong with the beginning of the history.
        None => replay_with(history, pgworkflows_core::history::replay::<W>),
    }
}

/// Reads a history from a JSON file.
///
/// # Errors
/// Returns [`Error::is_invalid`] if the file cannot be read, or the history is incomplete or damaged. The error names
/// the file.
pub fn read_history(file: impl AsRef<Path>) -> Result<History, Error> {
    let file = file.as_ref();
    let problem = |problem: String| Error::invalid(format!("{}: {problem}", file.display()));
    let json = fs::read(file).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let json =
        String::from_utf8(json).map_err(|_| problem("is not text, so it is not a history".to_owned()))?;
    parse_history(&json).map_err(|error| problem(error.to_string()))
}

/// Reads a history from JSON.
///
/// # Errors
/// Returns [`Error::is_invalid`] if the JSON is not a history, or the history is incomplete or damaged.
pub fn parse_history(json: &str) -> Result<History, Error> {
    serde_json::from_str(json).map_err(|error| {
        let what = if error.is_eof() { "the history is cut short" } else { "this is not a history" };
        Error::invalid(format!("{what}: {error}"))
    })
}

/// Writes a history to a JSON file. In production, `serde_json` alone does the same.
///
/// # Errors
/// Returns [`Error::is_invalid`] if the file cannot be written.
pub fn write_history(history: &History, file: impl AsRef<Path>) -> Result<(), Error> {
    let file = file.as_ref();
    let problem =
        |problem: String| Error::invalid(format!("{}: cannot be written: {problem}", file.display()));
    let json = serde_json::to_string_pretty(history).map_err(|error| problem(error.to_string()))?;
    fs::write(file, json + "\n").map_err(|error| problem(error.to_string()))
}

type Replay = fn(&History) -> Result<Replayed, pgworkflows_core::Error>;

/// Replays a history with the code of its workflow.
fn replay_with(history: &History, replay: Replay) -> Result<Replayed, Error> {
    replay(history).map_err(|error| match error.divergence() {
        Some(divergence) => Error::diverged(explain(history, divergence), divergence.clone()),
        None => error.into(),
    })
}

/// A divergence, explained for the author of a failing test.
fn explain(history: &History, divergence: &Divergence) -> String {
    let workflow = history.workflow().unwrap_or_default();
    let run = history.run_id();
    let mut text = match divergence.seq {
        Some(seq) => {
            format!("run {run} of workflow `{workflow}`: its code diverges from the history at event {seq}")
        }
        None => format!("run {run} of workflow `{workflow}`: its code continues where the history ends"),
    };
    if let Some(recorded) = &divergence.recorded {
        let source = divergence.seq.and_then(|seq| history.source(seq));
        let line = source.map_or_else(String::new, |source| format!(", at {source} then"));
        text.push_str(&format!("\n  recorded: {recorded}{line}"));
    }
    format!(
        "{text}\n  the code: {}\nRuns with such a history would stall. Keep the durable calls unchanged for open runs, \
         give the changed workflow another name, or let the open runs end before you deploy.",
        divergence.did
    )
}
