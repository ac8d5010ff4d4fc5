//! What a run is told of its children: that one is bound, and how one ended. It is pure, and must not know who tells it.

use crate::data::failure::Failure;
use crate::data::id::{CommandId, RunId};
use crate::data::outcome::Outcome;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::run::{Progress, Run};
use crate::workflow::calls::child::CHILD_CANCELLED;

impl Run {
    /// A child has ended, which the call of that number started, in this run or in one that carried the child along. It changes
    /// nothing if the run has an outcome of this call already, or has nothing to do with the
    /// child any more.
    pub(crate) fn child_ended(
        &mut self,
        at: Timestamp,
        id: CommandId,
        child: RunId,
        outcome: Outcome,
    ) -> Progress {
        let Some(id) = self.state.children.call_of(child, id) else { return Progress::default() };
        self.child_resolved(
            at,
            match outcome {
                Outcome::Completed(result) => Event::ChildCompleted { id, result },
                Outcome::Failed(failure) => Event::ChildFailed { id, failure },
                Outcome::Cancelled => {
                    let failure = Failure::new(CHILD_CANCELLED, "the child was cancelled").non_retryable();
                    Event::ChildFailed { id, failure }
                }
            },
        )
    }

    /// A child with a key was started, or could not be. It changes nothing if that is known.
    pub(crate) fn child_submitted(
        &mut self,
        at: Timestamp,
        id: CommandId,
        refused: Option<Failure>,
    ) -> Progress {
        let is_unbound = self.state.children.get(id).is_some_and(|child| child.unbound.is_some());
        match refused {
            _ if !is_unbound => Progress::default(),
            Some(failure) => self.child_resolved(at, Event::ChildFailed { id, failure }),
            None => {
                let mut progress = self.note(at, Event::ChildBound { id });
                // The end of the run may have waited for that.
                if self.state.ending.is_some() {
                    self.compensate(at.max(self.state.now), &mut progress);
                }
                progress
            }
        }
    }

    fn child_resolved(&mut self, at: Timestamp, resolution: Event) -> Progress {
        let is_ending = self.state.ending.is_some();
        let mut progress = self.resolve(at, resolution);
        // The end may also have begun with this outcome.
        if is_ending {
            self.compensate(at.max(self.state.now), &mut progress);
        }
        progress
    }
}
