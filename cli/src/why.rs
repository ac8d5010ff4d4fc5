//! Why a run does not go on, in plain words: a function from what is known to an explanation. It must not ask anybody.

#[cfg(test)]
mod tests;
mod wait;

use std::fmt;

use chrono::{DateTime, Utc};
use pgworkflows::RunId;
use pgworkflows::client::{RunStatus, Wait};
use serde::Serialize;

use crate::age::{self, ago, ahead};
use crate::count::counted;
use crate::situation::Situation;
use crate::visible::indented;

/// After this time, a run that no worker has begun, or a deadline that has passed, is late.
const LATE_SECONDS: i64 = 10;

/// An explanation. Scripts depend on the fields.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Explanation {
    run_id: RunId,
    workflow: String,
    key: Option<String>,
    status: RunStatus,
    /// One sentence.
    summary: String,
    /// The most important first.
    reasons: Vec<Reason>,
    /// What happened last.
    last_event: Option<LastEvent>,
    /// What else people should know.
    notes: Vec<String>,
}

/// One reason for which the run does not go on.
#[derive(Clone, Debug, Default, Serialize)]
struct Reason {
    /// A stable word for scripts.
    kind: &'static str,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<DateTime<Utc>>,
    /// The line of the workflow's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    again_at: Option<DateTime<Utc>>,
    /// What would wake the run.
    #[serde(skip_serializing_if = "String::is_empty")]
    wakes: String,
    /// The same as `since` for people.
    #[serde(skip)]
    since_words: String,
}

#[derive(Clone, Debug, Serialize)]
struct LastEvent {
    at: DateTime<Utc>,
    what: String,
    #[serde(skip)]
    words: String,
}

/// Explains a situation.
pub(crate) fn explain(situation: &Situation) -> Explanation {
    let s = situation;
    let mut reasons = match s.status {
        RunStatus::Pending => pending(s),
        RunStatus::Stalled => vec![stalled(s)],
        RunStatus::Running | RunStatus::Waiting | RunStatus::Paused => waiting(s),
        _ if s.status.is_over() => vec![over(s)],
        _ => vec![other(s)],
    };
    if !s.status.is_over() && s.status != RunStatus::Pending {
        reasons.splice(0..0, unserved(s));
    }
    for reason in &mut reasons {
        reason.since_words = reason.since.map(|at| since(at, s.now)).unwrap_or_default();
    }
    Explanation {
        run_id: s.run,
        workflow: s.workflow.clone(),
        key: s.key.clone(),
        status: s.status,
        summary: summary(s, &reasons),
        reasons,
        last_event: s.log.last.as_ref().map(|(at, what)| LastEvent {
            at: *at,
            what: what.clone(),
            words: since(*at, s.now),
        }),
        notes: notes(s),
    }
}

fn since(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ({})", age::time(at), ago(at, now))
}

fn summary(s: &Situation, reasons: &[Reason]) -> String {
    let key = s.key.as_ref().map(|key| format!(" (key `{key}`)")).unwrap_or_default();
    let run = format!("Run {} of workflow `{}`{key}", s.run, s.workflow);
    let does = match (s.status, reasons) {
        (RunStatus::Pending, _) => "has not begun".to_owned(),
        (RunStatus::Stalled, _) => "is stalled: its code cannot go on".to_owned(),
        (RunStatus::Paused, _) => "is paused".to_owned(),
        (RunStatus::Completed, _) => "is over: it completed".to_owned(),
        (RunStatus::Failed, _) => "is over: it failed".to_owned(),
        (RunStatus::Cancelled, _) => "is over: it was cancelled".to_owned(),
        (RunStatus::Terminated, _) => "is over: it was terminated".to_owned(),
        (RunStatus::TimedOut, _) => "is over: it was not done at its deadline".to_owned(),
        (RunStatus::Continued | RunStatus::Retried, _) => {
            "is over: another run of its chain goes on".to_owned()
        }
        (RunStatus::Running, [Reason { kind: "working", .. }]) => "works".to_owned(),
        (_, [Reason { kind, .. }, ..])
            if ["no-worker", "unknown-workflow", "unknown-queue"].contains(kind) =>
        {
            "has no worker that could continue it".to_owned()
        }
        (_, [_]) => "waits".to_owned(),
        (_, several) => format!("waits for {} things", several.len()),
    };
    format!("{run} {does}.")
}

fn over(s: &Situation) -> Reason {
    let what = match &s.outcome {
        Some(outcome) => format!("its last event: {outcome}"),
        None => "this version cannot read how it ended: use a newer one".to_owned(),
    };
    Reason {
        kind: "over",
        what,
        since: s.closed_at,
        wakes: "nothing: start another run".to_owned(),
        ..Reason::default()
    }
}

/// A run that no worker has begun.
fn pending(s: &Situation) -> Vec<Reason> {
    let since = Some(s.created_at);
    let mut reasons = unserved(s);
    if let Some(words) = s.words.as_ref().filter(|_| reasons.is_empty()) {
        // The owner of its shard has seen it.
        let what = format!("it waits for {words}");
        let wakes = "a worker of its queue that knows the workflow".to_owned();
        reasons.push(Reason { kind: "unknown-workflow", what, since, wakes, ..Reason::default() });
    }
    if reasons.is_empty() {
        let owner = match &s.service.owner {
            Some(owner) => format!("worker `{owner}`, which owns its shard, is to begin it"),
            None => {
                "its shard has no owner at this moment: a live worker takes it within the time of a lease"
                    .to_owned()
            }
        };
        let is_late = (s.now - s.created_at).num_seconds() >= LATE_SECONDS;
        let wakes = if is_late {
            "that worker; it is late: look at its log, its load, and `pgworkflows workers`"
        } else {
            "that worker, usually within milliseconds"
        };
        reasons.push(Reason {
            kind: "pending",
            what: owner,
            since,
            wakes: wakes.to_owned(),
            ..Reason::default()
        });
    }
    reasons
}

/// That no live worker can execute the run, if so.
fn unserved(s: &Situation) -> Vec<Reason> {
    let since = (s.status == RunStatus::Pending).then_some(s.created_at);
    let Some(queue) = s.service.queue.as_deref() else {
        let what = format!(
            "its shard, {}, belongs to no queue of this store, so no worker can own it",
            s.run.shard()
        );
        let wakes = "a queue with that shard: somebody deleted it from the table `queues`".to_owned();
        return vec![Reason { kind: "unknown-queue", what, since, wakes, ..Reason::default() }];
    };
    if s.service.workers == 0 {
        let what = format!("no live worker serves queue `{queue}`, so nothing of it happens");
        let wakes = format!("a worker of queue `{queue}` that knows workflow `{}`", s.workflow);
        return vec![Reason { kind: "no-worker", what, since, wakes, ..Reason::default() }];
    }
    if s.service.knowing == 0 {
        let live = counted(s.service.workers, "live worker");
        let what = format!("queue `{queue}` has {live}, and none knows workflow `{}`", s.workflow);
        let wakes =
            "a worker that registers the workflow: a deploy may have lost it, or its name was changed";
        return vec![Reason {
            kind: "unknown-workflow",
            what,
            since,
            wakes: wakes.to_owned(),
            ..Reason::default()
        }];
    }
    Vec::new()
}

fn stalled(s: &Situation) -> Reason {
    let words = s.words.as_deref().unwrap_or("its row does not say why");
    let what = words.strip_prefix("stalled: ").unwrap_or(words).to_owned();
    let run = s.run;
    Reason {
        kind: "stalled",
        what,
        since: s.log.last.as_ref().map(|(at, _)| *at),
        wakes: format!(
            "a worker whose code follows the history, by itself; with the same code, one more try: `pgworkflows runs \
             resume {run}`. What was recorded: `pgworkflows runs history {run}`"
        ),
        ..Reason::default()
    }
}

fn waiting(s: &Situation) -> Vec<Reason> {
    let reasons: Vec<Reason> = s.waits.iter().map(|wait| wait::reason(s, wait)).collect();
    if reasons.is_empty() { vec![other(s)] } else { reasons }
}

/// A run of which no wait is known.
fn other(s: &Situation) -> Reason {
    let last = s.log.last.as_ref().map(|(at, _)| *at);
    if let Some(at) = s.log.starts_at.filter(|at| *at > s.now) {
        let what = format!("its start was delayed until {} ({})", age::time(at), ahead(at, s.now));
        let wakes = "the time".to_owned();
        return Reason {
            kind: "delay",
            what,
            since: Some(s.created_at),
            again_at: Some(at),
            wakes,
            ..Reason::default()
        };
    }
    if let Some(words) = &s.words {
        return Reason { kind: "other", what: words.clone(), since: last, ..Reason::default() };
    }
    if let Some(at) = s.wake_at {
        let what = format!("a deadline at {} ({})", age::time(at), ahead(at, s.now));
        return Reason {
            kind: "timer",
            what,
            since: last,
            again_at: Some(at),
            wakes: "the time".to_owned(),
            ..Reason::default()
        };
    }
    let owner = s.service.owner.as_ref().map(|owner| format!(", worker `{owner}`,")).unwrap_or_default();
    Reason {
        kind: "working",
        what: format!("its owner{owner} executes its code or a step of it; nothing of it has failed"),
        since: last,
        wakes: "the end of that work; if it takes too long, look at the log of the worker".to_owned(),
        ..Reason::default()
    }
}

fn notes(s: &Situation) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(parent) = s.parent {
        notes.push(format!("It is a child of run {parent}: `pgworkflows runs why {parent}`."));
    }
    let pauses = |wait: &Wait| matches!(wait, Wait::Resume { .. });
    if s.waits.len() > 1 && s.waits.iter().any(pauses) {
        notes.push("What follows the pause is what it waited for when it was paused.".to_owned());
    }
    notes
}

/// Writes it for people.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary)?;
        for reason in &self.reasons {
            writeln!(f)?;
            reason.fmt(f)?;
        }
        if let Some(last) = &self.last_event {
            writeln!(f, "\nLast event: {}, {}.", last.what, last.words)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "* {}", indented(&self.what, 2))?;
        let lines = [
            ("since", Some(&self.since_words)),
            ("in the code", self.source.as_ref()),
            ("failed last", self.last_failure.as_ref()),
            ("what wakes it", Some(&self.wakes)),
        ];
        for (name, value) in lines {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                writeln!(f, "    {name:<15}{}", indented(value, 19))?;
            }
        }
        Ok(())
    }
}
