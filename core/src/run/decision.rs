//! The decisions of a replayed program, each to be compared with an event. It must not read the log.

use std::fmt;

use crate::data::outcome::Outcome;
use crate::log::event::Event;
use crate::workflow::command::Issued;

/// A decision of the program.
pub(super) enum Decision<'d> {
    Command(&'d Issued),
    Outcome(&'d Outcome),
}

/// Decisions of the program, in its order.
#[derive(Default)]
pub(super) struct Decided {
    /// The commands, of which the first `taken` were taken. Those of the usual poll stay in their vector and are dropped in
    /// place, because commands are large.
    issued: Vec<Issued>,
    taken: usize,
    /// What the workflow returned. No command follows it.
    outcome: Option<Box<Outcome>>,
}

impl Decided {
    /// Adds the decisions of the next poll.
    pub(super) fn add(&mut self, issued: Vec<Issued>, outcome: Option<Box<Outcome>>) {
        if self.issued.is_empty() {
            self.issued = issued;
        } else {
            self.issued.extend(issued);
        }
        if outcome.is_some() {
            self.outcome = outcome;
        }
    }

    /// Takes the room of commands, once all of them were taken.
    pub(super) fn take_room(&mut self) -> Option<Vec<Issued>> {
        let is_free = self.issued.is_empty() && self.issued.capacity() > 0;
        is_free.then(|| std::mem::take(&mut self.issued))
    }

    /// The next decision.
    pub(super) fn next(&self) -> Option<Decision<'_>> {
        let command = self.issued.get(self.taken).map(Decision::Command);
        command.or_else(|| self.outcome.as_deref().map(Decision::Outcome))
    }

    /// Takes the next decision if it equals the recorded event, and returns whether it does.
    pub(super) fn take_if_matches(&mut self, recorded: &Event) -> bool {
        let matches = self.next().is_some_and(|next| next.matches(recorded));
        if matches && self.issued.is_empty() {
            self.outcome = None;
        } else if matches {
            self.taken += 1;
            if self.taken == self.issued.len() {
                self.issued.clear();
                self.taken = 0;
            }
        }
        matches
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(issued) => write!(f, "{} at {}", issued.command, issued.source),
            Self::Outcome(outcome) => f.write_str(match outcome {
                Outcome::Completed(_) => "returns a value",
                Outcome::Failed(_) => "returns an error",
                Outcome::Cancelled => "returns its cancellation",
            }),
        }
    }
}

impl Decision<'_> {
    /// Whether it equals the recorded event.
    fn matches(&self, recorded: &Event) -> bool {
        match *self {
            Self::Command(issued) => issued.command.matches(recorded),
            Self::Outcome(outcome) => match (outcome, recorded) {
                (_, Event::RunEnding { outcome: recorded }) => {
                    std::mem::discriminant(outcome) == std::mem::discriminant(recorded)
                }
                (Outcome::Completed(_), Event::RunCompleted { .. })
                | (Outcome::Failed(_), Event::RunFailed { .. })
                | (Outcome::Cancelled, Event::RunCancelled { .. } | Event::RunTimedOut { .. }) => true,
                (Outcome::Completed(_) | Outcome::Failed(_) | Outcome::Cancelled, _) => false,
            },
        }
    }
}
