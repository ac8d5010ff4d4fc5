//! How a failing order is told: what is wrong, what happened, and the line that plays it again.

use std::error::Error as StdError;
use std::fmt;

use super::arrival::Arrival;
use super::play::Play;
use super::problem::Problem;
use super::scope::Scope;
use crate::error::Error;

/// An order that fails, or an exploration that cannot be.
///
/// Its text holds the shortest failing order as a line of a test, and the run's history.
pub struct ExploreFailure(Box<Kind>);

enum Kind {
    Refused(Error),
    Found { problem: Problem, scope: Scope, order: Vec<Arrival>, tried: usize, timeline: String },
}

impl ExploreFailure {
    pub(super) fn refused(error: Error) -> Self {
        Self(Box::new(Kind::Refused(error)))
    }

    /// The problem of a play, the last of so many that were tried.
    pub(super) fn found(play: Play, tried: usize, scope: &Scope) -> Self {
        let Play { walk, problem, history } = play;
        let timeline = history.map(|history| format!("{history:#}")).unwrap_or_default();
        let problem = problem.unwrap_or_else(|| unreachable!("only what has a problem is a failure"));
        // An order that does not fit is shown as it was given.
        let order = if matches!(problem, Problem::Misfit(_)) { walk.given() } else { walk.list() };
        Self(Box::new(Kind::Found { problem, scope: scope.clone(), order, tried, timeline }))
    }

    /// What has to arrive first for the failure to be seen: the shortest list that was found. The rest comes by
    /// itself. Empty if any order fails.
    pub fn order(&self) -> &[Arrival] {
        match &*self.0 {
            Kind::Refused(_) => &[],
            Kind::Found { order, .. } => order,
        }
    }

    /// Whether nothing was explored: a bound is 0, an ignored activity is not known, the definitions cannot be, or
    /// the given order does not fit the run.
    pub fn is_invalid(&self) -> bool {
        match &*self.0 {
            Kind::Refused(_) => true,
            Kind::Found { problem, .. } => matches!(problem, Problem::Misfit(_) | Problem::Runs(_)),
        }
    }

    /// Whether the workflow's code does not follow its own history: it decides by something that is not in it.
    pub fn is_nondeterministic(&self) -> bool {
        match &*self.0 {
            Kind::Refused(_) => false,
            Kind::Found { problem, .. } => matches!(problem, Problem::Replay(_) | Problem::Differs(_)),
        }
    }
}

impl fmt::Display for ExploreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (problem, scope, order, tried, timeline) = match &*self.0 {
            Kind::Refused(error) => return error.fmt(f),
            Kind::Found { problem, scope, order, tried, timeline } => {
                (problem, scope, order, tried, timeline)
            }
        };
        writeln!(f, "order {tried} fails: {problem}\n")?;
        if !timeline.is_empty() {
            writeln!(f, "{}\n", timeline.trim_end())?;
        }
        if matches!(problem, Problem::Misfit(_)) {
            return Ok(());
        }
        write!(
            f,
            "to play this order alone:\n\n    explore(&definition, script, check){scope}.order({order:?}).assert().await;"
        )
    }
}

impl fmt::Debug for ExploreFailure {
    /// As people read it: a test that returns a failure shows it by this.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for ExploreFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Kind::Refused(error) => Some(error),
            Kind::Found { .. } => None,
        }
    }
}
