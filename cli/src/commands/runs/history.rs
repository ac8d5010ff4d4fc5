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
        let limit = if self.all { usize::MAX } else { self.limit as usize };
        let last = match progress::shown("reading the history", store.client.last_events(id, limit)).await {
            Ok(last) => last,
            Err(error) => return Err(store.advise(id, error.into()).await),
        };
        let skipped = last.skipped();
        if answers.json {
            let events = last.events()?;
            return answers.give("", &json!({"run_id": id, "skipped": skipped, "events": events}));
        }
        if last.is_empty() {
            answers.line(format_args!("run {id} has no event yet: no worker has begun it"))?;
            return Ok(Code::Done);
        }
        answers.line(last.to_string().trim_end_matches('\n'))?;
        if skipped > 0 {
            let left_out = counted(skipped, "earlier event");
            answers.note(format_args!("without {left_out}: --all, or --limit"));
        }
        Ok(Code::Done)
    }
}
