//! The decisions of a replayed program, each to be compared with an event. It must not read the log.

use std::collections::VecDeque;
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
    issued: VecDeque<Issued>,
    /// What the workflow returned. No command follows it.
    outcome: Option<Outcome>,
}

impl Decided {
    /// Adds the decisions of the next poll.
    pub(super) fn add(&mut self, issued: Vec<Issued>, outcome: Option<Outcome>) {
        if self.issued.is_empty() {
            // Commands are large, so those of the usual poll stay in their vector.
            self.issued = issued.into();
        } else {
            self.issued.extend(issued);
        }
        if outcome.is_some() {
            self.outcome = outcome;
        }
    }

    /// The next decision.
    pub(super) fn next(&self) -> Option<Decision<'_>> {
        let command = self.issued.front().map(Decision::Command);
        command.or_else(|| self.outcome.as_ref().map(Decision::Outcome))
    }

    /// Takes the next decision if it equals the recorded event, and returns whether it does.
    pub(super) fn take_if_matches(&mut self, recorded: &Event) -> bool {
        let matches = self.next().is_some_and(|next| next.matches(recorded));
        if matches && self.issued.pop_front().is_none() {
            self.outcome = None;
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
                | (Outcome::Cancelled, Event::RunCancelled { .. }) => true,
                (Outcome::Completed(_) | Outcome::Failed(_) | Outcome::Cancelled, _) => false,
            },
        }
    }
}
