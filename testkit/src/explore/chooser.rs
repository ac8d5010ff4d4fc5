//! Chooses what reaches a run next, one arrival at a time. After each arrival it replays the history, which finds code
//! that hides a choice from the engine. It must not judge how a run ends.

use std::cell::RefCell;
use std::sync::Arc;

use super::arrival::Arrival;
use super::held::{Held, Progress, Started};
use super::orders::Walk;
use super::problem::Problem;
use crate::world::{Pilot, Prospect, Turn, World};

/// Leads a world along one order.
#[derive(Debug)]
pub(super) struct Chooser {
    held: Arc<Held>,
    arrivals_max: usize,
    /// Whether time may pass while something else can arrive.
    timeouts: bool,
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    walk: Walk<Arrival>,
    /// How many events were logged when the history was last replayed.
    replayed: usize,
    /// The progress of the world when time began to pass, until something happens.
    passing: Option<Progress>,
    problem: Option<Problem>,
}

impl Chooser {
    pub(super) fn new(held: Arc<Held>, walk: Walk<Arrival>, arrivals_max: usize, timeouts: bool) -> Self {
        Self {
            held,
            arrivals_max,
            timeouts,
            inner: RefCell::new(Inner { walk, replayed: 0, passing: None, problem: None }),
        }
    }

    /// The walk, and its problem if there is one.
    pub(super) fn finish(&self) -> (Walk<Arrival>, Option<Problem>) {
        let mut inner = self.inner.borrow_mut();
        let walk = std::mem::replace(&mut inner.walk, Walk::along(Vec::new()));
        let problem = inner.problem.take().or_else(|| walk.end().err().map(Problem::Misfit));
        (walk, problem)
    }

    /// Releases the next arrival, if there is one.
    fn arrive(&self, world: &World) -> Result<Turn, Problem> {
        self.replay(world)?;
        let mut options = self.held.arrivals();
        let may_pass = self.timeouts || options.is_empty();
        if may_pass && matches!(world.prospect(), Prospect::Time(_)) {
            options.push(Arrival::time());
        }
        if options.is_empty() {
            return Ok(Turn::Ends);
        }
        let chosen = {
            let walk = &mut self.inner.borrow_mut().walk;
            if walk.len() == self.arrivals_max {
                return Err(Problem::Endless { arrivals_max: self.arrivals_max, waits: world.report() });
            }
            walk.choose(&options).map_err(Problem::Misfit)?
        };
        if options[chosen] == Arrival::time() {
            self.inner.borrow_mut().passing = Some(self.held.progress());
            return Ok(Turn::TimePasses);
        }
        self.held.release(&options[chosen]);
        Ok(Turn::Continues)
    }

    /// Whether more time has to pass, because nothing has happened yet.
    fn is_passing(&self, world: &World) -> bool {
        let mut inner = self.inner.borrow_mut();
        let is_fruitless = inner.passing.is_some_and(|before| before == self.held.progress());
        if is_fruitless && matches!(world.prospect(), Prospect::Time(_)) {
            return true;
        }
        inner.passing = None;
        false
    }

    /// Replays the history so far with the code that wrote it.
    fn replay(&self, world: &World) -> Result<(), Problem> {
        let events = self.held.progress().events;
        if std::mem::replace(&mut self.inner.borrow_mut().replayed, events) == events {
            return Ok(());
        }
        for Started { run, workflow } in self.held.started() {
            if let Some(reason) = world.stall_of(run) {
                return Err(Problem::Stalled(reason));
            }
            let history = world.history(run).filter(|history| !history.is_empty());
            let replayed = history.and_then(|history| world.definitions().replay(&workflow, &history));
            if let Some(Err(error)) = replayed {
                return Err(Problem::Replay(error.to_string()));
            }
        }
        Ok(())
    }

    /// The order is over: the script may end, and the run need not.
    fn end(&self, problem: Option<Problem>) -> Turn {
        let inner = &mut *self.inner.borrow_mut();
        inner.problem = inner.problem.take().or(problem);
        match (self.held.open(), &inner.problem) {
            (true, _) => Turn::Continues,
            (false, Some(_)) => Turn::Ends,
            (false, None) => Turn::TimePasses,
        }
    }
}

impl Pilot for Chooser {
    fn idle(&self, world: &World) -> Turn {
        if self.held.release_given_up() {
            return Turn::Continues;
        }
        // Before the run begins there is nothing to choose, and after its end no arrival makes a difference.
        if self.held.started().is_empty() {
            return Turn::TimePasses;
        }
        if self.inner.borrow().problem.is_some() {
            return self.end(None);
        }
        if self.held.is_over() {
            return self.end(self.replay(world).err());
        }
        if self.is_passing(world) {
            return Turn::TimePasses;
        }
        self.arrive(world).unwrap_or_else(|problem| self.end(Some(problem)))
    }
}
