//! One order, played in its own world: the script, the arrivals, the user's assertion. It must not know which orders
//! there are.

use std::convert::Infallible;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use pgworkflows_core::Workflow;
use pgworkflows_core::history::{Event, History, HistoryEvent};

use super::arrival::Arrival;
use super::chooser::Chooser;
use super::held::{Held, Started};
use super::orders::Walk;
use super::problem::Problem;
use super::scope::Scope;
use crate::caught::caught_in;
use crate::env::{TestEnv, TestEnvBuilder, TestRun};
use crate::error::Error;
use crate::world::{Patience, Stuck};

/// The result of playing an order.
pub(super) struct Play {
    pub(super) walk: Walk<Arrival>,
    pub(super) problem: Option<Problem>,
    /// The history of the run, if there was one.
    pub(super) history: Option<History>,
}

impl Play {
    /// Judges a play whose order was possible before: if it does not fit any more, the user's code behaved differently.
    pub(super) fn explored(mut self) -> Self {
        if let Some(Problem::Misfit(misfit)) = self.problem {
            let difference = format!(
                "after the same {} arrivals as before, {} cannot arrive any more. If an activity or a step has a \
                 different outcome each time, give it the same outcome",
                misfit.after, misfit.wanted
            );
            self.problem = Some(Problem::Differs(difference));
        }
        self
    }
}

/// Everything that is needed to play an order.
pub(super) struct Player<S, C> {
    pub(super) definition: TestEnvBuilder,
    pub(super) script: S,
    pub(super) check: C,
    pub(super) arrivals_max: usize,
    pub(super) scope: Scope,
}

impl<S, C> Player<S, C> {
    /// Plays an order twice: both plays must have the same history. The assertion is called once.
    pub(super) async fn play<W: Workflow>(&self, walk: Walk<Arrival>) -> Result<Play, Error>
    where
        S: AsyncFn(TestEnv) -> Result<TestRun<W>, Error>,
        C: AsyncFn(TestRun<W>) -> Result<(), Error>,
    {
        let mut first = self.play_once(walk, true).await?;
        if first.problem.is_some() {
            return Ok(first);
        }
        let again = Walk::along(first.walk.arrived(usize::MAX));
        let second = self.play_once(again, false).await?;
        first.problem = difference(&first, &second);
        Ok(first)
    }

    async fn play_once<W: Workflow>(&self, walk: Walk<Arrival>, is_judged: bool) -> Result<Play, Error>
    where
        S: AsyncFn(TestEnv) -> Result<TestRun<W>, Error>,
        C: AsyncFn(TestRun<W>) -> Result<(), Error>,
    {
        let held = Arc::new(Held::new(self.scope.clone()));
        let chooser = Chooser::new(Arc::clone(&held), walk, self.arrivals_max, self.scope.timeouts);
        let chooser = Rc::new(chooser);
        let mut definition = self.definition.clone();
        let settings = definition.settings_mut();
        settings.gate = Some(Arc::clone(&held) as _);
        settings.faults = Some(Arc::clone(&held) as _);
        settings.pilot = Some(Rc::clone(&chooser) as _);
        let env = definition.try_build()?;

        let scripted = caught_in("the script", (self.script)(env.clone())).await.map_err(Problem::Assertion);
        // Everything else arrives; this ends when nothing more can.
        let patience = Patience::new(env.world());
        let Err(Stuck) = env.world().drive_unless(pending::<Infallible>(), || patience.ends()).await;
        let (walk, problem) = chooser.finish();
        let started = held.started();
        let problem = match problem {
            None if is_judged => self.judge(&env, &started, scripted).await,
            problem => problem,
        };
        let history = started.first().map(|first| env.run::<W>(first.run).history());
        Ok(Play { walk, problem, history })
    }

    /// Calls the user's assertion, once nothing can reach the run any more.
    async fn judge<W: Workflow>(
        &self,
        env: &TestEnv,
        started: &[Started],
        scripted: Result<Result<TestRun<W>, Error>, Problem>,
    ) -> Option<Problem>
    where
        C: AsyncFn(TestRun<W>) -> Result<(), Error>,
    {
        let run = started.first().map(|first| first.run);
        match scripted {
            Ok(Ok(_)) => {}
            // A message may arrive too late, and a result may be an error: the user's assertion judges that.
            Ok(Err(error)) if run.is_some() && error.about_run() == run => {}
            Ok(Err(error)) => return Some(Problem::Script(error.to_string())),
            Err(problem) => return Some(problem),
        }
        let (Some(run), 1) = (run, started.len()) else { return Some(Problem::Runs(started.len())) };
        match caught_in("the assertion", (self.check)(env.run::<W>(run))).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Problem::Assertion(error.to_string())),
            Err(panic) => Some(Problem::Assertion(panic)),
        }
    }
}

/// What the workflow did differently the second time, if anything. If an activity or a step had another outcome before
/// that, the workflow had reason to.
fn difference(first: &Play, second: &Play) -> Option<Problem> {
    let (Some(before), Some(now)) = (&first.history, &second.history) else { return None };
    let events_before = before.events().unwrap_or_default();
    let events_now = now.events().unwrap_or_default();
    let same = events_before.iter().zip(&events_now).take_while(|(before, now)| before == now);
    let differs = same.count();
    if is_answer(events_before.get(differs)) && is_answer(events_now.get(differs)) {
        return None;
    }
    if let Some(problem) = &second.problem {
        return Some(Problem::Differs(format!("the same order, played again, fails: {problem}")));
    }
    if events_before.len() == differs && events_now.len() == differs {
        return None;
    }
    let line = |history: &History| match history.to_string().lines().nth(differs) {
        Some(line) => format!("`{}`", line.trim()),
        None => "not there".to_owned(),
    };
    Some(Problem::Differs(format!(
        "the same order, played again, led to another history. An event was {}, and then {}",
        line(before),
        line(now)
    )))
}

/// Whether the event, if there is one, has a value that may differ each time: an outcome of an activity or a step, or a local
/// resolution.
fn is_answer(event: Option<&HistoryEvent>) -> bool {
    event.is_some_and(|event| match event.event {
        Event::ActivityAttemptFailed { .. } => true,
        Event::TimerFired { .. } => false,
        _ => event.event.is_outcome() || event.event.is_local(),
    })
}
