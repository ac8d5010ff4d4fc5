//! The decisions of a replayed program, each to be compared with an event. It must not read the log.

use std::fmt;

use crate::data::outcome::Outcome;
use crate::log::event::Event;
use crate::workflow::command::Issued;

/// A decision of the program.
pub(super) enum Decision {
    Command(Issued),
    Outcome(Outcome),
}

impl fmt::Display for Decision {
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

impl Decision {
    /// Whether it equals the recorded event.
    pub(super) fn matches(&self, recorded: &Event) -> bool {
        match self {
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
