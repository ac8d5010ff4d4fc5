//! `pgworkflows runs watch`: follows a run until its end.

use std::time::Duration;

use clap::Args;
use pgworkflows::client::{HistoryPage, RunStatus};
use pgworkflows::history::HistoryEvent;
use serde_json::json;

use crate::age;
use crate::answer::Answers;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::target::Target;

/// How long to wait before the store is asked again.
const PAUSE: Duration = Duration::from_millis(300);

/// Shows the events of a run as they happen, until its end. Its exit code is 0 if the run completes, and 1 if it ends otherwise.
/// With --json, each event is one line.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    target: Target,

    /// Gives up after so many seconds. The run goes on
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

impl Watch {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        let following = self.follow(store, answers);
        let Some(seconds) = self.timeout else { return following.await };
        tokio::time::timeout(Duration::from_secs(seconds), following).await.unwrap_or_else(|_| {
            let message = format!(
                "the run was not over after {seconds} s, and goes on; `pgworkflows runs why` says why"
            );
            Err(Failure::new(Code::Failed, "timed-out", message))
        })
    }

    async fn follow(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        // If the run was continued, the end of its chain is that of another run.
        let mut run = self.target.find(store).await?.run_id();
        let mut after = None;
        loop {
            let page = match store.client.history_page(run, after).await {
                Ok(page) => page,
                Err(error) => return Err(store.advise(run, error.into()).await),
            };
            give(&page, run, answers)?;
            after = page.end().or(after);
            if let Some(last) = page.events.last().filter(|last| last.event.is_terminal()) {
                match self.end(store, run, last, answers).await? {
                    Next::Run(next) => (run, after) = (next, None),
                    Next::Done(code) => return Ok(code),
                }
            } else if page.is_last {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// What follows the end of a run: the next one of its chain, or nothing.
    async fn end(
        &self,
        store: &Connected,
        run: pgworkflows::RunId,
        last: &HistoryEvent,
        answers: Answers,
    ) -> Result<Next, Failure> {
        let info = store.client.describe(run).await?;
        if info.run_id != run {
            return Ok(Next::Run(info.run_id));
        }
        answers.note(format_args!("run {run} is over: {} at {}", info.status, age::time(last.at)));
        let code = if info.status == RunStatus::Completed { Code::Done } else { Code::Failed };
        Ok(Next::Done(code))
    }
}

enum Next {
    Run(pgworkflows::RunId),
    Done(Code),
}

fn give(page: &HistoryPage, run: pgworkflows::RunId, answers: Answers) -> Result<(), Failure> {
    for event in &page.events {
        if answers.json {
            answers.line(json!({"run_id": run, "event": event}))?;
        } else {
            answers.line(format_args!("{:>4}  {}  {}", event.seq.get(), age::time(event.at), event.event))?;
        }
    }
    Ok(())
}
