//! `pgworkflows runs history`: what happened to a run.

use clap::Args;
use serde_json::json;

use crate::answer::Answers;
use crate::connect::Connected;
use crate::count::counted;
use crate::failure::{Code, Failure};
use crate::progress;
use crate::target::Target;

/// Shows the events of a run, with the time since its first one. There are none until a worker has begun the run.
#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    target: Target,

    /// How many events: the last ones
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// All events
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl History {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        let run = self.target.find(store).await?;
        let id = run.run_id();
        let history = match progress::shown("reading the history", run.export()).await {
            Ok(history) => history,
            Err(error) => return Err(store.advise(id, error.into()).await),
        };
        let skipped = if self.all { 0 } else { history.len().saturating_sub(self.limit as usize) };
        if answers.json {
            let events = history.events()?;
            let events = events.get(skipped..).unwrap_or_default();
            return answers.give("", &json!({"run_id": id, "skipped": skipped, "events": events}));
        }
        if history.is_empty() {
            answers.line(format_args!("run {id} has no event yet: no worker has begun it"))?;
            return Ok(Code::Done);
        }
        let text = history.to_string();
        let lines: Vec<&str> = text.lines().skip(skipped).collect();
        answers.line(lines.join("\n"))?;
        if skipped > 0 {
            let left_out = counted(skipped, "earlier event");
            answers.note(format_args!("without {left_out}: --all, or --limit"));
        }
        Ok(Code::Done)
    }
}
