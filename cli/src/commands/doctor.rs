//! `pgworkflows doctor`: examines the database and what is in it. The checks of a PostgreSQL or of a file are those of their stores;
//! the others ask what any client may ask.

use clap::Args;
use pgworkflows::diagnosis::{self, PostgresCheck, SqliteCheck, Verdict};
use pgworkflows::{PostgresStore, SqliteStore};
use serde_json::json;

use crate::answer::Answers;
use crate::args::Global;
use crate::connect::{Connected, file_at, is_postgres};
use crate::count::counted;
use crate::failure::{Code, Failure};
use crate::progress;
use crate::unserved::unserved;
use crate::visible::{indented, visible};

/// Stalled runs are counted up to here.
const STALLED_SHOWN: u32 = 1000;

/// The checks without which no store is opened.
const NEEDED: [&str; 3] = ["connection", "file", "schema"];

/// Examines the database and what is in it, and says for each thing that is wrong what to do. It changes nothing. The exit code
/// is 1 if something is wrong, and 5 if the store does not answer.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Fails on warnings, too
    #[arg(long)]
    strict: bool,
}

/// What a check found, by the word for the check.
type Finding = diagnosis::Finding<&'static str>;

impl Doctor {
    pub(super) async fn run(&self, global: &Global, answers: Answers) -> Result<Code, Failure> {
        let findings = progress::shown("examining", examine(global)).await?;
        answers.give_styled(shown(&findings), &json!({"findings": findings}))?;
        let has = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
        let unreachable = |finding: &Finding| {
            ["connection", "file"].contains(&finding.check) && finding.verdict == Verdict::Wrong
        };
        Ok(if findings.iter().any(unreachable) {
            Code::Unavailable
        } else if has(Verdict::Wrong) || self.strict && has(Verdict::Warning) {
            Code::Failed
        } else {
            Code::Done
        })
    }
}

async fn examine(global: &Global) -> Result<Vec<Finding>, Failure> {
    let mut findings = examine_place(global).await?;
    // What keeps a store from being opened was found before, so it is not told twice.
    let is_open_to =
        findings.iter().all(|finding| !NEEDED.contains(&finding.check) || finding.verdict == Verdict::Ok);
    if is_open_to {
        match global.connect().await {
            Ok(store) => findings.extend(runs(&store).await?),
            Err(failure) if findings.iter().all(|finding| finding.verdict != Verdict::Wrong) => {
                return Err(failure);
            }
            Err(_) => {}
        }
    }
    Ok(findings)
}

/// What is with the server or the file.
async fn examine_place(global: &Global) -> Result<Vec<Finding>, Failure> {
    let url = global.address()?;
    if is_postgres(&url) {
        let options = PostgresStore::builder(&url).schema(&global.schema());
        let found = options.diagnose().await.map_err(|error| Failure::usage(error.to_string()))?;
        return Ok(found.into_iter().map(|finding| finding.map(PostgresCheck::name)).collect());
    }
    let Some(path) = file_at(&url) else { return Ok(Vec::new()) };
    let found = SqliteStore::builder(path).diagnose().await;
    Ok(found.into_iter().map(|finding| finding.map(SqliteCheck::name)).collect())
}

/// What is with the runs, whatever the store is.
async fn runs(store: &Connected) -> Result<[Finding; 3], Failure> {
    Ok([stalled(store).await?, workflows(store).await?, activity_queues(store).await?])
}

async fn stalled(store: &Connected) -> Result<Finding, Failure> {
    let status = pgworkflows::client::RunStatus::Stalled;
    let found = store.client.list().status(status).limit(STALLED_SHOWN).await?;
    let Some(first) = found.first() else {
        return Ok(Finding::ok("stalled-runs", "no run is stalled"));
    };
    let are_stalled = match found.len() {
        1 => "1 run is stalled".to_owned(),
        count if count == STALLED_SHOWN as usize => format!("{count} runs or more are stalled"),
        count => format!("{count} runs are stalled"),
    };
    let (id, workflow) = (first.run_id, &first.workflow);
    // Its words begin with the status, which the sentence has.
    let why = first.waiting_on.as_deref().unwrap_or_default();
    let why = crate::table::cut(why.strip_prefix("stalled: ").unwrap_or(why), 200);
    let advice = "`pgworkflows runs list --status stalled` lists them, and `pgworkflows runs why <id>` says what each needs";
    let text = format!("{are_stalled}, the newest of them {id} of workflow `{workflow}`: {why}");
    Ok(Finding::wrong("stalled-runs", text, advice))
}

/// Queues of which no live worker knows what their runs need.
async fn workflows(store: &Connected) -> Result<Finding, Failure> {
    let queues = store.client.queues().await?;
    let found = unserved(store, &queues).await?;
    if found.is_empty() {
        let text =
            if queues.is_empty() { "no queue yet" } else { "every open run has a live worker that knows it" };
        return Ok(Finding::ok("workflows", text));
    }
    let advice =
        "start a worker that registers the workflows; give programs with different workflows a queue each";
    Ok(Finding::wrong("workflows", found.join("; "), advice))
}

/// Activity queues whose tasks no live worker executes.
async fn activity_queues(store: &Connected) -> Result<Finding, Failure> {
    let mut found = Vec::new();
    for tasks in store.client.activity_queues().await? {
        let of = format!("activity `{}` in activity queue `{}`", tasks.activity, tasks.queue);
        if let Some(problem) = &tasks.problem {
            found.push(format!("a worker could not begin a task of {of}: {problem}"));
        } else if tasks.workers == 0 && tasks.waiting > 0 {
            let waiting = counted(tasks.waiting as usize, "waiting task");
            found.push(format!("{waiting} of {of}, and no live worker that serves it"));
        }
    }
    if found.is_empty() {
        return Ok(Finding::ok("tasks", "every task that waits has a worker"));
    }
    let advice = "start a worker that serves the activity queue and knows the activity; `pgworkflows queues` shows what waits";
    Ok(Finding::wrong("tasks", found.join("; "), advice))
}

/// One line for each finding, and what to do below it.
fn shown(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for Finding { check, verdict, found, advice, .. } in findings {
        let colour = match verdict {
            Verdict::Ok => anstyle::AnsiColor::Green,
            Verdict::Warning => anstyle::AnsiColor::Yellow,
            _ => anstyle::AnsiColor::Red,
        };
        let style = anstyle::Style::new().fg_color(Some(colour.into()));
        let told = |text: &str| visible(&indented(text, 24)).into_owned();
        lines.push(format!("{style}{verdict:<8}{style:#} {check:<14} {}", told(found)));
        lines.extend(advice.iter().map(|advice| format!("{:24}{}", "", told(advice))));
    }
    lines.join("\n")
}
