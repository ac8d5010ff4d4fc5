//! The decisions of a replayed program, each to be compared with an event. It must not read the log.

use std::fmt;

use crate::data::outcome::Outcome;
use crate::log::event::Event;
use crate::workflow::command::Issued;
use crate::workflow::program::How;

/// A decision of the program.
pub(super) enum Decision<'d> {
    Command(&'d Issued),
    End(&'d How),
}

/// Decisions of the program, in its order.
#[derive(Default)]
pub(super) struct Decided {
    /// The commands, of which the first `taken` were taken. Those of the usual poll stay in their vector and are dropped in
    /// place, because commands are large.
    issued: Vec<Issued>,
    taken: usize,
    /// How the workflow ended. No command follows it.
    end: Option<How>,
}

impl Decided {
    /// Adds the decisions of the next poll.
    pub(super) fn add(&mut self, issued: Vec<Issued>, end: Option<How>) {
        if self.issued.is_empty() {
            self.issued = issued;
        } else {
            self.issued.extend(issued);
        }
        if end.is_some() {
            self.end = end;
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
        command.or_else(|| self.end.as_ref().map(Decision::End))
    }

    /// Takes the next decision if it equals the recorded event, and returns whether it does.
    pub(super) fn take_if_matches(&mut self, recorded: &Event) -> bool {
        let matches = self.next().is_some_and(|next| next.matches(recorded));
        if matches && self.issued.is_empty() {
            self.end = None;
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
            Self::End(how) => f.write_str(match how {
                How::Returned(Outcome::Completed(_)) => "returns a value",
                How::Returned(Outcome::Failed(_)) => "returns an error",
                How::Returned(Outcome::Cancelled) => "returns its cancellation",
                How::Continued(_) => "continues as new",
            }),
        }
    }
}

impl Decision<'_> {
    /// Whether it equals the recorded event.
    fn matches(&self, recorded: &Event) -> bool {
        match *self {
            Self::Command(issued) => issued.command.matches(recorded),
            Self::End(How::Continued(_)) => matches!(recorded, Event::RunContinued { .. }),
            Self::End(How::Returned(outcome)) => match (outcome, recorded) {
                (_, Event::RunEnding { outcome: recorded, .. }) => {
                    std::mem::discriminant(outcome) == std::mem::discriminant(recorded)
                }
                (Outcome::Completed(_), Event::RunCompleted { .. })
                | (Outcome::Failed(_), Event::RunFailed { .. } | Event::RunRetried { .. })
                | (Outcome::Cancelled, Event::RunCancelled { .. } | Event::RunTimedOut { .. }) => true,
                (Outcome::Completed(_) | Outcome::Failed(_) | Outcome::Cancelled, _) => false,
            },
        }
    }
}
