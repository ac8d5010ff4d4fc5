//! `pgworkflows runs show`: a run as its description has it.

use chrono::{DateTime, Utc};
use clap::Args;
use pgworkflows::client::RunInfo;

use crate::age;
use crate::answer::Answers;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::target::Target;
use crate::visible::indented;

/// Shows a run: what it does, or how it ended. Of a chain, it shows the current run.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    target: Target,
}

impl Show {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        let info = super::describe(store, &self.target).await?;
        answers.give(shown(&info, store.now().await?), &info)
    }
}

/// One line for each thing that is known.
pub(super) fn shown(info: &RunInfo, now: DateTime<Utc>) -> String {
    let moment = |at: DateTime<Utc>| format!("{} ({})", age::time(at), age::ago(at, now));
    let mut lines = vec![
        ("run", info.run_id.to_string()),
        ("workflow", info.workflow.clone()),
        ("status", info.status.to_string()),
        ("started", moment(info.created_at)),
    ];
    lines.extend(info.key.clone().map(|key| ("key", key)));
    lines.extend(info.parent.map(|parent| ("child of", parent.to_string())));
    let attributes: Vec<String> =
        info.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    lines.extend((!attributes.is_empty()).then(|| ("attributes", attributes.join(", "))));
    if let Some(link) = &info.chain {
        lines.push(("chain", format!("number {} of the chain of run {}", link.number, link.first)));
    }
    lines.extend(info.closed_at.map(|at| ("ended", moment(at))));
    match info.outcome() {
        Ok(Some(outcome)) => lines.push(("outcome", outcome.to_string())),
        Ok(None) => {}
        Err(error) => lines.push(("outcome", error.to_string())),
    }
    lines.extend(info.wake_at.map(|at| ("wakes", format!("{} ({})", age::time(at), age::ahead(at, now)))));
    if info.waits.is_empty() {
        lines.extend(info.waiting_on.clone().map(|waits| ("waits for", waits)));
    }
    lines.extend(info.waits.iter().map(|wait| ("waits for", wait.to_string())));
    for message in &info.undelivered {
        let payload = message.payload.as_ref().map(|payload| format!(" {payload:?}")).unwrap_or_default();
        lines.push(("undelivered", format!("{}{payload}, {}", message.what, moment(message.at))));
    }
    let lines = lines.into_iter().map(|(name, value)| format!("{name:<12}{}", indented(&value, 12)));
    lines.collect::<Vec<_>>().join("\n")
}
