//! `pgworkflows runs list`: a page of runs, or all of them.

use chrono::{DateTime, Utc};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use futures::TryStreamExt;
use pgworkflows::client::{FoundRuns, ListRuns, RunInfo, RunStatus};
use serde_json::json;

use crate::answer::Answers;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::progress;
use crate::situation::reason;
use crate::table;
use crate::target::Target;
use crate::{age, attribute};

/// How many characters of what a run waits for are shown.
const WAITING_CHARS: usize = 100;

/// Lists runs, the newest first.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only runs of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,

    /// Only runs with this attribute; given several times, those that have all of them
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute::parse)]
    attribute: Vec<(String, String)>,

    /// Only runs with this status
    #[arg(long, value_name = "STATUS", value_parser = statuses(), conflicts_with_all = ["open", "closed"])]
    status: Option<RunStatus>,

    /// Only runs that are not over
    #[arg(long, conflicts_with = "closed")]
    open: bool,

    /// Only runs that are over
    #[arg(long)]
    closed: bool,

    /// How many runs: 1 to 1000
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    /// All runs, in pages that are read as they are shown
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// How many open runs, and how many that are over, a page looks at where no index has those that are asked for
    #[arg(long, default_value_t = 250_000, value_name = "N", conflicts_with = "all",
          value_parser = clap::value_parser!(u32).range(1..))]
    search: u32,

    /// Only runs that are older than this one: the last of an earlier page
    #[arg(long, value_name = "RUN")]
    before: Option<String>,
}

/// Reads a status in its own word.
fn statuses() -> impl TypedValueParser<Value = RunStatus> {
    PossibleValuesParser::new(RunStatus::ALL.iter().map(|status| status.name()))
        .try_map(|word| word.parse::<RunStatus>())
}

impl List {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        let list = self.list(store).await?;
        if self.all {
            return self.give_all(list, store, answers).await;
        }
        let found = list.limit(self.limit).search(self.search);
        let FoundRuns { runs, next, .. } = progress::shown("listing", found).await?;
        let now = store.now().await?;
        let text = if runs.is_empty() && next.is_some() {
            "no such run among those that were searched".to_owned()
        } else {
            shown(&runs, now)
        };
        answers.give(text, &json!({"runs": runs, "next": next}))?;
        if let Some(next) = next {
            let searched = if runs.len() < self.limit as usize {
                format!("runs since {} were searched; ", age::time(next.born().into()))
            } else {
                String::new()
            };
            answers.note(format_args!("{searched}there may be more: --before {next}, or --all"));
        }
        Ok(Code::Done)
    }

    async fn list(&self, store: &Connected) -> Result<ListRuns, Failure> {
        let mut list = store.client.list();
        if let Some(workflow) = &self.workflow {
            list = list.workflow(workflow);
        }
        for (name, value) in &self.attribute {
            list = list.attribute(name.as_str(), value);
        }
        list = match (self.status, self.open, self.closed) {
            (Some(status), ..) => list.status(status),
            (None, true, _) => list.open(),
            (None, false, true) => list.closed(),
            (None, false, false) => list,
        };
        if let Some(before) = &self.before {
            let target = Target { run: Some(before.clone()), key: None, workflow: None };
            list = list.before(target.find(store).await?.run_id());
        }
        Ok(list)
    }

    /// Shows page after page, so that any number of runs takes little memory. As JSON they are lines, one for each run.
    async fn give_all(&self, list: ListRuns, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        let now = store.now().await?;
        let mut pages = list.limit(1000).stream().try_chunks(1000);
        let mut is_first = true;
        while let Some(page) = pages.try_next().await.map_err(|chunk| chunk.1)? {
            if answers.json {
                for run in &page {
                    answers.line(serde_json::to_string(run).unwrap_or_default())?;
                }
            } else {
                let text = shown(&page, now);
                let rows = text.split_once('\n').map_or("", |(_, rows)| rows);
                answers.line(if is_first { &text } else { rows })?;
            }
            is_first = false;
        }
        if is_first && !answers.json {
            answers.line(shown(&[], now))?;
        }
        Ok(Code::Done)
    }
}

/// The table of some runs.
fn shown(runs: &[RunInfo], now: DateTime<Utc>) -> String {
    if runs.is_empty() {
        return "no such run".to_owned();
    }
    let mut rows =
        table::table(["RUN", "WORKFLOW", "KEY", "STATUS", "STARTED", "WAITS FOR, OR WHY IT ENDED"]);
    for run in runs {
        rows.add_row([
            run.run_id.to_string(),
            table::cut(&run.workflow, 40),
            table::or_dash(run.key.as_deref().map(|key| table::cut(key, 40))),
            run.status.to_string(),
            age::ago(run.created_at, now),
            why(run).map(|why| table::cut(&why, WAITING_CHARS)).unwrap_or_default(),
        ]);
    }
    table::text(rows)
}

/// What an open run waits for, and why one that is over ended. One without words of its own waits for a time, such as a run whose
/// start was delayed.
fn why(run: &RunInfo) -> Option<String> {
    // An outcome that this build cannot read does not hide the run.
    let ended = || reason(&run.outcome().ok()??);
    let until = || run.wake_at.map(|at| format!("until {}", age::time(at)));
    run.waiting_on.clone().or_else(ended).or_else(until)
}
