//! The report of a failing order: the problem, what happened, and the line that plays the order again. It must not know
//! how the order was found.

use std::error::Error as StdError;
use std::fmt;

use super::arrival::Arrival;
use super::play::Play;
use super::problem::Problem;
use super::scope::Scope;
use crate::error::Error;

/// An order that fails, or an invalid exploration.
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

    /// The problem of a play, the last of `tried` orders.
    pub(super) fn found(play: Play, tried: usize, scope: &Scope) -> Self {
        let Play { walk, problem, history } = play;
        let timeline = history.map(|history| format!("{history:#}")).unwrap_or_default();
        let problem = problem.unwrap_or_else(|| unreachable!("a failure has a problem"));
        // A given order that does not fit is shown unchanged.
        let order = if matches!(problem, Problem::Misfit(_)) { walk.given() } else { walk.list() };
        Self(Box::new(Kind::Found { problem, scope: scope.clone(), order, tried, timeline }))
    }

    /// The arrivals that lead to the failure: the shortest list that was found. The default order follows them. Empty
    /// if the default order fails.
    pub fn order(&self) -> &[Arrival] {
        match &*self.0 {
            Kind::Refused(_) => &[],
            Kind::Found { order, .. } => order,
        }
    }

    /// Whether nothing was explored: a limit is 0, an ignored activity is unknown, the definitions are invalid, or the
    /// given order does not fit the run.
    pub fn is_invalid(&self) -> bool {
        match &*self.0 {
            Kind::Refused(_) => true,
            Kind::Found { problem, .. } => matches!(problem, Problem::Misfit(_) | Problem::Runs(_)),
        }
    }

    /// Whether the workflow's code diverged from its own history: it depends on something that is not in the history.
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
    /// The same text as `Display`, because a test that returns a failure prints its `Debug` form.
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
