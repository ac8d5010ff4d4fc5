//! `pgworkflows doctor`: examines the database and what is in it. The checks of a PostgreSQL are those of its store; the others
//! ask what any client may ask.

use clap::Args;
use pgworkflows::PostgresStore;
use pgworkflows::diagnosis::{self, Verdict};
use serde::Serialize;
use serde_json::json;

use crate::answer::Answers;
use crate::args::Global;
use crate::connect::{Connected, is_postgres};
use crate::failure::{Code, Failure};
use crate::progress;
use crate::visible::{indented, visible};

/// Stalled runs are counted up to here.
const STALLED_SHOWN: u32 = 1000;

/// Examines the database and what is in it, and says for each thing that is wrong what to do. It changes nothing. The exit code
/// is 1 if something is wrong, and 5 if the store does not answer.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Fails on warnings, too
    #[arg(long)]
    strict: bool,
}

/// What a check found.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    check: &'static str,
    /// `ok`, `warning` or `wrong`.
    verdict: &'static str,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, found: impl Into<String>, advice: Option<&str>) -> Self {
        Self { check, verdict: word(verdict), found: found.into(), advice: advice.map(str::to_owned) }
    }
}

impl From<diagnosis::Finding> for Finding {
    fn from(finding: diagnosis::Finding) -> Self {
        let diagnosis::Finding { check, verdict, found, advice, .. } = finding;
        Self { check: check.name(), verdict: word(verdict), found, advice }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        _ => "wrong",
    }
}

impl Doctor {
    pub(super) async fn run(&self, global: &Global, answers: Answers) -> Result<Code, Failure> {
        let findings = progress::shown("examining", examine(global)).await?;
        answers.give_styled(shown(&findings), &json!({"findings": findings}))?;
        let has = |verdict: &str| findings.iter().any(|finding| finding.verdict == verdict);
        let unreachable = |finding: &Finding| finding.check == "connection" && finding.verdict == "wrong";
        Ok(if findings.iter().any(unreachable) {
            Code::Unavailable
        } else if has("wrong") || self.strict && has("warning") {
            Code::Failed
        } else {
            Code::Done
        })
    }
}

async fn examine(global: &Global) -> Result<Vec<Finding>, Failure> {
    let url = global.address()?;
    let mut findings = Vec::new();
    if is_postgres(&url) {
        let options = PostgresStore::builder(&url).schema(&global.schema());
        let found = options.diagnose().await.map_err(|error| Failure::usage(error.to_string()))?;
        findings.extend(found.into_iter().map(Finding::from));
    }
    // What keeps a store from being opened was found before, so it is not told twice.
    let is_open_to = findings
        .iter()
        .all(|finding| !matches!(finding.check, "connection" | "schema") || finding.verdict == "ok");
    if is_open_to {
        match global.connect().await {
            Ok(store) => findings.extend(runs(&store).await?),
            Err(failure) if findings.iter().all(|finding| finding.verdict != "wrong") => return Err(failure),
            Err(_) => {}
        }
    }
    Ok(findings)
}

/// What is with the runs, whatever the store is.
async fn runs(store: &Connected) -> Result<Vec<Finding>, Failure> {
    Ok(vec![stalled(store).await?, workflows(store).await?, activity_queues(store).await?])
}

async fn stalled(store: &Connected) -> Result<Finding, Failure> {
    let status = pgworkflows::client::RunStatus::Stalled;
    let found = store.client.list().status(status).limit(STALLED_SHOWN).await?;
    let Some(first) = found.first() else {
        return Ok(Finding::new("stalled-runs", Verdict::Ok, "no run is stalled", None));
    };
    let more = if found.len() == STALLED_SHOWN as usize { " or more" } else { "" };
    let (count, id, workflow) = (found.len(), first.run_id, &first.workflow);
    let why = first.waiting_on.as_deref().map(|why| crate::table::cut(why, 200)).unwrap_or_default();
    let advice = "`pgworkflows runs list --status stalled` lists them, and `pgworkflows runs why <id>` says what each needs";
    let text =
        format!("{count}{more} runs are stalled, the newest of them {id} of workflow `{workflow}`: {why}");
    Ok(Finding::new("stalled-runs", Verdict::Wrong, text, Some(advice)))
}

/// Queues of which no live worker knows what their runs need.
async fn workflows(store: &Connected) -> Result<Finding, Failure> {
    let queues = store.client.queues().await?;
    let mut found = Vec::new();
    let mut names = Vec::new();
    for queue in &queues {
        for unserved in &queue.unserved {
            let workflows =
                unserved.workflows.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let live = queue.workers.len();
            found.push(format!(
                "queue `{}` has {} shards with runs of {workflows}, and none of its {live} live workers knows all of these",
                queue.name,
                unserved.shards.len()
            ));
        }
        names.push(format!("`{}`", queue.name));
    }
    if found.is_empty() {
        let text = if names.is_empty() {
            "no queue yet".to_owned()
        } else {
            format!("queues {} are served", names.join(", "))
        };
        return Ok(Finding::new("workflows", Verdict::Ok, text, None));
    }
    let advice = "start a worker that registers the workflows; give programs with different workflows a queue each. A shard may \
                  need a workflow whose last run has just ended";
    Ok(Finding::new("workflows", Verdict::Wrong, found.join("; "), Some(advice)))
}

/// Activity queues whose tasks no live worker executes.
async fn activity_queues(store: &Connected) -> Result<Finding, Failure> {
    let mut found = Vec::new();
    for tasks in store.client.activity_queues().await? {
        let of = format!("activity `{}` in activity queue `{}`", tasks.activity, tasks.queue);
        if let Some(problem) = &tasks.problem {
            found.push(format!("a worker could not begin a task of {of}: {problem}"));
        } else if tasks.workers == 0 && tasks.waiting > 0 {
            found.push(format!("{} tasks of {of} wait, and no live worker serves them", tasks.waiting));
        }
    }
    if found.is_empty() {
        return Ok(Finding::new("tasks", Verdict::Ok, "every task that waits has a worker", None));
    }
    let advice = "start a worker that serves the activity queue and knows the activity; `pgworkflows queues` shows what waits";
    Ok(Finding::new("tasks", Verdict::Wrong, found.join("; "), Some(advice)))
}

/// One line for each finding, and what to do below it.
fn shown(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for Finding { check, verdict, found, advice } in findings {
        let colour = match *verdict {
            "ok" => anstyle::AnsiColor::Green,
            "warning" => anstyle::AnsiColor::Yellow,
            _ => anstyle::AnsiColor::Red,
        };
        let style = anstyle::Style::new().fg_color(Some(colour.into()));
        let told = |text: &str| visible(&indented(text, 24)).into_owned();
        lines.push(format!("{style}{verdict:<8}{style:#} {check:<14} {}", told(found)));
        lines.extend(advice.iter().map(|advice| format!("{:24}{}", "", told(advice))));
    }
    lines.join("\n")
}
