//! The replay check: histories that were recorded, here or in production, against today's code. It must not know how
//! a history was made, and trusts none.

mod check;

use std::fs;
use std::path::Path;

use pgworkflows_core::Workflow;
use pgworkflows_core::error::Divergence;
use pgworkflows_core::history::{History, Replayed};

pub use self::check::ReplayCheck;
use crate::error::Error;

/// Holds a history against today's code of its workflow.
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
/// [`Error::is_diverged`] if the code decides differently: the error shows what was recorded, what the code does,
/// and the source lines of both, as far as the history has any. [`Error::is_invalid`] for a history of another
/// workflow, of a newer build, one that is incomplete, and one that is damaged.
pub fn replay<W: Workflow>(history: &History) -> Result<Replayed, Error> {
    match history.workflow() {
        Some(workflow) if workflow == W::NAME => replay_with(history, pgworkflows_core::history::replay::<W>),
        Some(workflow) => Err(Error::invalid(format!(
            "the history of run {} is one of workflow `{workflow}`, and workflow `{}` was to replay it; replay it with \
             the type of `{workflow}`",
            history.run_id(),
            W::NAME
        ))),
        // The engine says what is wrong with a history that does not begin as one does.
        None => replay_with(history, pgworkflows_core::history::replay::<W>),
    }
}

/// Checks every history of a directory, all of one workflow; see [`ReplayCheck`] for more than one.
///
/// # Errors
/// As [`ReplayCheck::dir`].
pub fn replay_dir<W: Workflow>(directory: impl AsRef<Path>) -> Result<usize, Error> {
    ReplayCheck::new().workflow::<W>().dir(directory)
}

/// Reads a history from a file that holds it as JSON.
///
/// # Errors
/// [`Error::is_invalid`] if it cannot be read, is incomplete, or was damaged; the error names the file.
pub fn read_history(file: impl AsRef<Path>) -> Result<History, Error> {
    let file = file.as_ref();
    let problem = |problem: String| Error::invalid(format!("{}: {problem}", file.display()));
    let json = fs::read(file).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let json = String::from_utf8(json).map_err(|_| problem("is no text, so it is no history".to_owned()))?;
    parse_history(&json).map_err(|error| problem(error.to_string()))
}

/// Reads a history that is given as JSON.
///
/// # Errors
/// As [`read_history`].
pub fn parse_history(json: &str) -> Result<History, Error> {
    serde_json::from_str(json).map_err(|error| {
        let what = if error.is_eof() { "the history is cut short" } else { "this is no history" };
        Error::invalid(format!("{what}: {error}"))
    })
}

/// Writes a history to a file, as JSON. A production program does the same with `serde_json` alone.
///
/// # Errors
/// [`Error::is_invalid`] if the file cannot be written.
pub fn write_history(history: &History, file: impl AsRef<Path>) -> Result<(), Error> {
    let file = file.as_ref();
    let problem =
        |problem: String| Error::invalid(format!("{}: cannot be written: {problem}", file.display()));
    let json = serde_json::to_string_pretty(history).map_err(|error| problem(error.to_string()))?;
    fs::write(file, json + "\n").map_err(|error| problem(error.to_string()))
}

type Replay = fn(&pgworkflows_core::store::RunHistory) -> Result<Replayed, pgworkflows_core::Error>;

/// Replays a history with the code of its workflow.
fn replay_with(history: &History, replay: Replay) -> Result<Replayed, Error> {
    replay(history.records()).map_err(|error| match error.divergence() {
        Some(divergence) => Error::diverged(explain(history, divergence), divergence.clone()),
        None => error.into(),
    })
}

/// A divergence as somebody wants to read it whose test it fails.
fn explain(history: &History, divergence: &Divergence) -> String {
    let workflow = history.workflow().unwrap_or_default();
    let run = history.run_id();
    let mut text = match divergence.seq {
        Some(seq) => {
            format!("run {run} of workflow `{workflow}`: its code diverges from the history at event {seq}")
        }
        None => format!("run {run} of workflow `{workflow}`: its code goes on where the history ends"),
    };
    if let Some(recorded) = &divergence.recorded {
        let source = divergence.seq.and_then(|seq| history.source(seq));
        let line = source.map_or_else(String::new, |source| format!(", at {source} then"));
        text.push_str(&format!("\n  recorded: {recorded}{line}"));
    }
    format!(
        "{text}\n  the code: {}\nRuns with such a history would stall. Keep the durable calls as they were for runs that \
         are open, give the changed workflow another name, or let the open runs end before you deploy.",
        divergence.did
    )
}
