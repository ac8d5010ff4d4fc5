//! One thing that a run waits for, in words. It must not know what else the run waits for.

use chrono::{DateTime, Utc};
use pgworkflows::RunId;
use pgworkflows::client::Wait;

use super::{LATE_SECONDS, Reason};
use crate::age::{self, ago, ahead};
use crate::count::counted;
use crate::shell;
use crate::situation::{Call, Situation, Tasks};

/// Why a run that waits for this does not go on.
pub(super) fn reason(s: &Situation, wait: &Wait) -> Reason {
    let run = s.run;
    // What has no event of its own began when the run's last event happened, or before.
    let last = s.log.last.as_ref().map(|(at, _)| *at);
    let reason =
        |kind, what: String, wakes: String| Reason { kind, what, wakes, since: last, ..Reason::default() };
    let reason = match wait {
        Wait::Signal { name, .. } => reason(
            "signal",
            format!("it waits for signal `{name}`"),
            format!("whoever sends it: `pgworkflows runs signal {run} {} '<json>'`", shell::word(name)),
        ),
        Wait::Update { name, .. } => reason(
            "update",
            format!("it waits for update `{name}`"),
            "a client that sends the update, which gets an answer".to_owned(),
        ),
        Wait::Condition { .. } => reason(
            "condition",
            "it waits until its own state fulfils a condition".to_owned(),
            "whatever changes that state: a handler of a signal or an update, or another part of its code"
                .to_owned(),
        ),
        Wait::Timer { until, .. } => Reason { since: s.since(&Call::Timer(*until)), ..timer(s, *until) },
        Wait::Activity { .. } => activity(s, wait),
        Wait::Step { name, .. } => reason(
            "step",
            format!("its worker executes step `{name}`"),
            "the end of the step; if it takes too long, look at the log of the worker".to_owned(),
        ),
        Wait::Permit { of, name, .. } => reason(
            "permit",
            format!("it waits for {of} `{name}`"),
            "another branch of its code that gives it back: what that one waits for is in this list, too"
                .to_owned(),
        ),
        Wait::Child { workflow, run: child, starting, .. } => {
            Reason { since: s.since(&Call::Child(*child)), ..self::child(workflow, *child, *starting) }
        }
        Wait::Resume { reason: why, .. } => reason(
            "paused",
            match why {
                Some(why) => format!("a client paused it: {why}"),
                None => "a client paused it, and gave no reason".to_owned(),
            },
            format!("`pgworkflows runs resume {run}`"),
        ),
        _ => reason(
            "unknown",
            format!(
                "it waits for {}",
                s.words.as_deref().unwrap_or("something that this version does not know")
            ),
            "a newer version of this program knows".to_owned(),
        ),
    };
    Reason { source: wait.source().map(str::to_owned), ..reason }
}

fn timer(s: &Situation, until: DateTime<Utc>) -> Reason {
    let is_late = (s.now - until).num_seconds() >= LATE_SECONDS;
    let what = if is_late {
        format!("its timer until {} is late: it was due {}", age::time(until), ago(until, s.now))
    } else {
        format!("its timer ends at {} ({})", age::time(until), ahead(until, s.now))
    };
    let wakes =
        if is_late { "a live worker that owns its shard: see `pgworkflows queues`" } else { "the time" };
    Reason { kind: "timer", what, again_at: Some(until), wakes: wakes.to_owned(), ..Reason::default() }
}

fn child(workflow: &str, child: RunId, starting: bool) -> Reason {
    if starting {
        return Reason {
            kind: "child-starting",
            what: format!(
                "its child {child} of workflow `{workflow}`, which has a key, is still to be started"
            ),
            wakes: "the store: another open start may hold the key for a moment".to_owned(),
            ..Reason::default()
        };
    }
    Reason {
        kind: "child",
        what: format!("it waits for the end of its child {child} of workflow `{workflow}`"),
        wakes: format!("that run; what it waits for: `pgworkflows runs why {child}`"),
        ..Reason::default()
    }
}

fn activity(s: &Situation, wait: &Wait) -> Reason {
    let Wait::Activity { name, attempt, queue, last_failure, again_at, compensation, .. } = wait else {
        return Reason::default();
    };
    let noun = if *compensation { "compensation" } else { "activity" };
    let (kind, what, wakes) = match (queue, again_at) {
        (Some(queue), _) => {
            let of_it = |tasks: &&Tasks| tasks.queue == *queue && tasks.activity == *name;
            let (kind, how, wakes) = task(queue, s.tasks.iter().find(of_it));
            (kind, format!("attempt {attempt} of {noun} `{name}` {how}"), wakes)
        }
        (None, Some(at)) => (
            "back-off",
            format!(
                "attempt {attempt} of {noun} `{name}` begins at {} ({})",
                age::time(*at),
                ahead(*at, s.now)
            ),
            format!("the time; at once: `pgworkflows runs retry {}`", s.run),
        ),
        (None, None) => (
            "activity",
            format!("attempt {attempt} of {noun} `{name}` is under way{}", owner(s)),
            "its outcome, or its timeout; if it takes too long, look at the log of the worker".to_owned(),
        ),
    };
    Reason {
        kind,
        what,
        since: s.since(&Call::Activity(name.clone())),
        last_failure: last_failure.clone(),
        again_at: *again_at,
        wakes,
        ..Reason::default()
    }
}

fn owner(s: &Situation) -> String {
    s.service.owner.as_ref().map(|owner| format!(" in worker `{owner}`")).unwrap_or_default()
}

/// What is with a task of an activity queue.
fn task(queue: &str, tasks: Option<&Tasks>) -> (&'static str, String, String) {
    match tasks {
        None => (
            "task",
            format!("is a task of activity queue `{queue}`, which was just taken or ended"),
            "its outcome".to_owned(),
        ),
        Some(Tasks { problem: Some(problem), .. }) => (
            "task-refused",
            format!("is a task of activity queue `{queue}`, which a worker could not begin: {problem}"),
            "a worker whose code can; each tries again after half a minute".to_owned(),
        ),
        Some(Tasks { workers: 0, waiting, .. }) => (
            "task-unserved",
            match waiting {
                0 | 1 => {
                    format!("is a task that waits in activity queue `{queue}`, which no live worker serves")
                }
                _ => format!(
                    "is one of {waiting} tasks that wait in activity queue `{queue}`, which no live worker serves"
                ),
            },
            "a worker that serves the activity queue and knows the activity".to_owned(),
        ),
        Some(Tasks { workers, waiting, running, .. }) => (
            "task",
            format!(
                "is a task of activity queue `{queue}`, executed by {}: {running} under way, {waiting} waiting",
                counted(*workers as usize, "worker")
            ),
            "its outcome; if many wait, more workers of the activity queue".to_owned(),
        ),
    }
}
