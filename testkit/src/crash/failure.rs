//! How a crash was noticed, and how that is told: where the process died, what is other than without a crash, and
//! what happened. It must not crash anything.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt;

use pgworkflows_core::RunId;
use pgworkflows_core::history::Event;

use super::life::{Fate, Life};
use super::plan::CrashPoint;
use crate::error::Error;

/// A crash that was noticed, or a script that fails without one.
pub struct CrashFailure(Box<Kind>);

enum Kind {
    Refused(Error),
    Noticed { crashes: Vec<CrashPoint>, noticed: String, timeline: String },
}

impl CrashFailure {
    pub(super) fn refused(error: Error) -> Self {
        Self(Box::new(Kind::Refused(error)))
    }

    pub(super) fn noticed(life: &Life, noticed: String) -> Self {
        let (crashes, timeline) = (life.crashes.clone(), life.timeline.clone());
        Self(Box::new(Kind::Noticed { crashes, noticed, timeline }))
    }

    /// Where processes died, one after the other; empty if the script fails without a crash.
    pub fn crashes(&self) -> &[CrashPoint] {
        match &*self.0 {
            Kind::Refused(_) => &[],
            Kind::Noticed { crashes, .. } => crashes,
        }
    }

    /// Whether nothing was crashed: the definitions cannot be, or the script fails without a crash.
    pub fn is_invalid(&self) -> bool {
        matches!(*self.0, Kind::Refused(_))
    }
}

impl fmt::Display for CrashFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Refused(error) => error.fmt(f),
            Kind::Noticed { crashes, noticed, timeline } => {
                writeln!(f, "a crash was noticed: {noticed}\n")?;
                for crash in crashes {
                    writeln!(f, "a worker died at {crash}")?;
                }
                write!(f, "\n{}", timeline.trim_end())
            }
        }
    }
}

impl fmt::Debug for CrashFailure {
    /// As people read it: a test that returns a failure shows it by this.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for CrashFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Kind::Refused(error) => Some(error),
            Kind::Noticed { .. } => None,
        }
    }
}

/// What is other than without a crash, in words.
pub(super) fn noticed(calm: &Life, life: &Life, repeats_max: usize) -> Option<String> {
    if let Err(problem) = &life.script {
        return Some(problem.clone());
    }
    if let Some(call) = life.undone.first() {
        return Some(format!("{call} was executed again although its outcome was recorded"));
    }
    for (attempt, times) in &life.executions {
        if *times > 1 + repeats_max {
            return Some(format!(
                "attempt {} of `{}` (call {}) was executed {times} times, and {} are allowed; see `repeats`",
                attempt.attempt,
                attempt.name,
                attempt.call,
                1 + repeats_max
            ));
        }
    }
    let runs: BTreeSet<RunId> = calm.fates.keys().chain(life.fates.keys()).copied().collect();
    runs.into_iter().find_map(|run| match (calm.fates.get(&run), life.fates.get(&run)) {
        (Some(calm), Some(fate)) => other_fate(calm, fate),
        (None, _) => Some(format!("run {run} was started, and was not without a crash")),
        (_, None) => Some(format!("run {run} was not started, and was without a crash")),
    })
}

fn other_fate(calm: &Fate, fate: &Fate) -> Option<String> {
    if calm.end != fate.end {
        return Some(format!("the run {}, and without a crash it {}", end(&fate.end), end(&calm.end)));
    }
    let ids = calm.calls.keys().chain(fate.calls.keys());
    let id = ids.into_iter().find(|id| calm.calls.get(id) != fate.calls.get(id))?;
    let words = |fate: &Fate| match fate.calls.get(id) {
        Some((name, input)) => format!("`{name}` with {input:?}"),
        None => "nothing".to_owned(),
    };
    Some(format!("call {id} asked for {}, and without a crash for {}", words(fate), words(calm)))
}

fn end(end: &Result<Event, String>) -> String {
    match end {
        Ok(event) => format!("ends with {event}"),
        Err(waits) => format!("waits on {waits}"),
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
            fates: BTreeMap::from([(run, Fate { end: Ok(whole::RunCompleted { result }.into()), calls })]),
            executions: BTreeMap::from([(attempt, 1)]),
            undone: Vec::new(),
            timeline: String::new(),
        }
    }

    #[test]
    fn life_that_is_the_same_is_not_noticed() {
        assert_eq!(noticed(&life(), &life(), 1), None);
    }

    #[test]
    fn execution_of_what_was_recorded_is_noticed() {
        let undone = Life { undone: vec!["`work` (call 1)".to_owned()], ..life() };
        let expected = "`work` (call 1) was executed again although its outcome was recorded";
        assert_eq!(noticed(&life(), &undone, 1).as_deref(), Some(expected));
    }

    #[test]
    fn execution_too_many_is_noticed_and_one_less_is_not() {
        let mut busy = life();
        busy.executions.values_mut().for_each(|times| *times = 2);
        assert_eq!(noticed(&life(), &busy, 1), None);
        busy.executions.values_mut().for_each(|times| *times = 3);
        let expected = "attempt 1 of `work` (call 1) was executed 3 times, and 2 are allowed; see `repeats`";
        assert_eq!(noticed(&life(), &busy, 1).as_deref(), Some(expected));
    }

    #[test]
    fn call_with_another_input_is_noticed() {
        let mut other = life();
        let two = Payload::encode(&2).unwrap();
        other
            .fates
            .values_mut()
            .for_each(|fate| _ = fate.calls.insert(CommandId::FIRST, ("work".to_owned(), two.clone())));
        let expected = "call 1 asked for `work` with 2, and without a crash for `work` with 1";
        assert_eq!(noticed(&life(), &other, 1).as_deref(), Some(expected));
    }

    #[test]
    fn run_too_many_or_too_few_is_noticed() {
        let none = Life { fates: BTreeMap::new(), ..life() };
        assert!(noticed(&life(), &none, 1).is_some_and(|noticed| noticed.contains("was not started")));
        assert!(noticed(&none, &life(), 1).is_some_and(|noticed| noticed.contains("was started")));
    }
}
