//! The difference that a crash made, and its report: where the process died, what differs from a life without a crash,
//! and what happened. It must not crash anything.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt;

use pgworkflows_core::RunId;
use pgworkflows_core::history::Event;

use super::life::{Life, RunSummary};
use super::plan::CrashPoint;
use crate::error::Error;

/// A crash that made a difference, or a script that fails without a crash.
pub struct CrashFailure(Box<Kind>);

enum Kind {
    Refused(Error),
    Difference { crashes: Vec<CrashPoint>, difference: String, timeline: String },
}

impl CrashFailure {
    pub(super) fn refused(error: Error) -> Self {
        Self(Box::new(Kind::Refused(error)))
    }

    pub(super) fn noticed(life: &Life, difference: String) -> Self {
        let (crashes, timeline) = (life.crashes.clone(), life.timeline.clone());
        Self(Box::new(Kind::Difference { crashes, difference, timeline }))
    }

    /// Where processes died, in order; empty if the script fails without a crash.
    pub fn crashes(&self) -> &[CrashPoint] {
        match &*self.0 {
            Kind::Refused(_) => &[],
            Kind::Difference { crashes, .. } => crashes,
        }
    }

    /// Whether nothing was crashed: the definitions are invalid, or the script fails without a crash.
    pub fn is_invalid(&self) -> bool {
        matches!(*self.0, Kind::Refused(_))
    }
}

impl fmt::Display for CrashFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Refused(error) => error.fmt(f),
            Kind::Difference { crashes, difference, timeline } => {
                writeln!(f, "a crash made a difference: {difference}\n")?;
                for crash in crashes {
                    writeln!(f, "a worker died at {crash}")?;
                }
                write!(f, "\n{}", timeline.trim_end())
            }
        }
    }
}

impl fmt::Debug for CrashFailure {
    /// The same text as `Display`, because a test that returns a failure prints its `Debug` form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for CrashFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Kind::Refused(error) => Some(error),
            Kind::Difference { .. } => None,
        }
    }
}

/// The difference to a life without a crash, in words.
pub(super) fn noticed(baseline: &Life, life: &Life, repeats_max: usize) -> Option<String> {
    if let Err(problem) = &life.script {
        return Some(problem.clone());
    }
    if let Some(call) = life.repeated.first() {
        return Some(format!("{call} was executed again although its outcome was recorded"));
    }
    for (attempt, times) in &life.executions {
        if *times > 1 + repeats_max {
            return Some(format!(
                "attempt {} of `{}` (call {}) was executed {times} times, and the limit is {}; see `repeats`",
                attempt.attempt,
                attempt.name,
                attempt.call,
                1 + repeats_max
            ));
        }
    }
    let runs: BTreeSet<RunId> = baseline.summaries.keys().chain(life.summaries.keys()).copied().collect();
    runs.into_iter().find_map(|run| match (baseline.summaries.get(&run), life.summaries.get(&run)) {
        (Some(baseline), Some(summary)) => difference(baseline, summary),
        (None, Some(summary)) => match of_key(summary, baseline, life) {
            Some(before) => difference(before, summary),
            None => Some(format!("run {run} was started, but not without a crash")),
        },
        (Some(before), None) if of_key(before, life, baseline).is_some() => None,
        (_, None) => Some(format!("run {run} was not started, but without a crash it was")),
    })
}

/// The only run of another life that has the key of a run, which is the only one of its own life with the key.
fn of_key<'a>(summary: &RunSummary, there: &'a Life, here: &Life) -> Option<&'a RunSummary> {
    summary.key.as_ref()?;
    let mut same = there.summaries.values().filter(|other| other.key == summary.key);
    let is_alone = here.summaries.values().filter(|other| other.key == summary.key).count() == 1;
    same.next().filter(|_| is_alone && same.next().is_none())
}

fn difference(baseline: &RunSummary, summary: &RunSummary) -> Option<String> {
    if baseline.end != summary.end {
        return Some(format!("the run {}; without a crash, it {}", end(&summary.end), end(&baseline.end)));
    }
    let ids = baseline.calls.keys().chain(summary.calls.keys());
    let id = ids.into_iter().find(|id| baseline.calls.get(id) != summary.calls.get(id))?;
    let words = |summary: &RunSummary| match summary.calls.get(id) {
        Some((name, input)) => format!("`{name}` with {input:?}"),
        None => "nothing".to_owned(),
    };
    Some(format!("call {id} scheduled {}; without a crash, it scheduled {}", words(summary), words(baseline)))
}

fn end(end: &Result<Event, String>) -> String {
    match end {
        Ok(event) => format!("ends with {event}"),
        Err(waits) => format!("waits for {waits}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pgworkflows_core::history::whole;
    use pgworkflows_core::id::CommandId;
    use pgworkflows_core::payload::Payload;

    use super::super::life::Attempt;
    use super::*;

    /// A life of one run, which asked for one activity.
    fn life() -> Life {
        let (run, call) = (RunId::from_u128(1), CommandId::FIRST);
        let result = Payload::encode(&1).unwrap();
        let calls = BTreeMap::from([(call, ("work".to_owned(), result.clone()))]);
        let attempt = Attempt { run, call, attempt: 1, name: "work".to_owned() };
        Life {
            script: Ok(()),
            crashes: Vec::new(),
            appends: 2,
            summaries: BTreeMap::from([(
                run,
                RunSummary { key: None, end: Ok(whole::RunCompleted { result }.into()), calls },
            )]),
            executions: BTreeMap::from([(attempt, 1)]),
            repeated: Vec::new(),
            timeline: String::new(),
        }
    }

    #[test]
    fn equal_life_has_no_difference() {
        assert_eq!(noticed(&life(), &life(), 1), None);
    }

    #[test]
    fn execution_after_the_recorded_outcome_is_a_difference() {
        let repeated = Life { repeated: vec!["`work` (call 1)".to_owned()], ..life() };
        let expected = "`work` (call 1) was executed again although its outcome was recorded";
        assert_eq!(noticed(&life(), &repeated, 1).as_deref(), Some(expected));
    }

    #[test]
    fn one_execution_too_many_is_a_difference() {
        let mut busy = life();
        busy.executions.values_mut().for_each(|times| *times = 2);
        assert_eq!(noticed(&life(), &busy, 1), None);
        busy.executions.values_mut().for_each(|times| *times = 3);
        let expected = "attempt 1 of `work` (call 1) was executed 3 times, and the limit is 2; see `repeats`";
        assert_eq!(noticed(&life(), &busy, 1).as_deref(), Some(expected));
    }

    #[test]
    fn call_with_another_input_is_a_difference() {
        let mut other = life();
        let two = Payload::encode(&2).unwrap();
        other
            .summaries
            .values_mut()
            .for_each(|summary| _ = summary.calls.insert(CommandId::FIRST, ("work".to_owned(), two.clone())));
        let expected = "call 1 scheduled `work` with 2; without a crash, it scheduled `work` with 1";
        assert_eq!(noticed(&life(), &other, 1).as_deref(), Some(expected));
    }

    #[test]
    fn run_with_a_key_is_known_by_it() {
        // Given a life in which the run was started again under its key, and has another id
        let keyed = |run, life: Life| Life {
            summaries: life.summaries.into_values().map(|summary| (RunId::from_u128(run), summary)).collect(),
            ..life
        };
        let mut one = life();
        let key = Some(("order".to_owned(), "7".to_owned()));
        one.summaries.values_mut().for_each(|summary| summary.key = key.clone());
        let mut other = keyed(2, life());
        assert!(noticed(&one, &other, 1).is_some());
        other.summaries.values_mut().for_each(|summary| summary.key = key.clone());
        // Then that is no difference, but another end is
        assert_eq!(noticed(&one, &other, 1), None);
        other.summaries.values_mut().for_each(|summary| summary.end = Err("a signal".to_owned()));
        assert!(noticed(&one, &other, 1).is_some_and(|difference| difference.contains("waits for a signal")));
    }

    #[test]
    fn additional_or_missing_run_is_a_difference() {
        let none = Life { summaries: BTreeMap::new(), ..life() };
        assert!(noticed(&life(), &none, 1).is_some_and(|difference| difference.contains("was not started")));
        assert!(noticed(&none, &life(), 1).is_some_and(|difference| difference.contains("was started")));
    }
}
