//! `pgworkflows runs`: the commands about runs, one file each.

mod cancel;
mod history;
pub(crate) mod list;
mod pause;
mod resume;
mod retry;
mod show;
mod signal;
mod start;
mod terminate;
mod watch;
mod why;

use clap::Subcommand;
use pgworkflows::client::{RunInfo, Untyped};
use pgworkflows::{Error, RunHandle};
use serde_json::json;

use crate::answer::Answers;
use crate::args::Global;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::progress;
use crate::target::Target;

/// What is to be done with runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists runs, the newest first
    List(list::List),
    /// Shows a run: what it does, or how it ended
    Show(show::Show),
    /// Says in plain words why a run does not go on, and what would wake it
    Why(why::Why),
    /// Shows the events of a run
    History(history::History),
    /// Starts a run
    Start(start::Start),
    /// Sends a signal to a run
    Signal(signal::Signal),
    /// Asks a run to cancel itself: its code may clean up
    Cancel(cancel::Cancel),
    /// Ends a run without asking its code
    Terminate(terminate::Terminate),
    /// Pauses a run: its code takes no step, and no attempt begins
    Pause(pause::Pause),
    /// Ends the pause of a run, or has a stalled one tried again
    Resume(resume::Resume),
    /// Has the attempts of a run that are in back-off begin at once
    Retry(retry::Retry),
    /// Follows the events of a run until its end
    Watch(watch::Watch),
}

impl Command {
    pub(crate) async fn run(&self, global: &Global, answers: Answers) -> Result<Code, Failure> {
        let store = global.connect().await?;
        match self {
            Self::List(list) => list.run(&store, answers).await,
            Self::Show(show) => show.run(&store, answers).await,
            Self::Why(why) => why.run(&store, answers).await,
            Self::History(history) => history.run(&store, answers).await,
            Self::Start(start) => start.run(&store, answers).await,
            Self::Signal(signal) => signal.run(&store, answers).await,
            Self::Cancel(cancel) => cancel.run(&store, answers).await,
            Self::Terminate(terminate) => terminate.run(&store, answers).await,
            Self::Pause(pause) => pause.run(&store, answers).await,
            Self::Resume(resume) => resume.run(&store, answers).await,
            Self::Retry(retry) => retry.run(&store, answers).await,
            Self::Watch(watch) => watch.run(&store, answers).await,
        }
    }
}

/// Describes the run.
async fn describe(store: &Connected, target: &Target) -> Result<RunInfo, Failure> {
    let run = target.find(store).await?;
    let described = progress::shown("reading the run", run.describe()).await;
    match described {
        Ok(info) => Ok(info),
        Err(error) => Err(store.advise(run.run_id(), error.into()).await),
    }
}

/// Sends a run a request, and answers with what was asked for. The request is durable then, and its effect follows.
async fn ask<R>(
    store: &Connected,
    target: &Target,
    answers: Answers,
    asked: &str,
    request: impl FnOnce(&RunHandle<Untyped>) -> R,
) -> Result<Code, Failure>
where
    R: Future<Output = Result<(), Error>>,
{
    let run = target.find(store).await?;
    let id = run.run_id();
    if let Err(error) = progress::shown("asking", request(&run)).await {
        return Err(store.advise(id, error.into()).await);
    }
    answers.give(format!("run {id}: {asked}"), &json!({"run_id": id, "asked": asked}))
}
